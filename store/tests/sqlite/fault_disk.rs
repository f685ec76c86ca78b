//! A disk that loses what was not synced, for SQLite to write to.
//!
//! A VFS over the system's own. It passes everything through, so that a process sees its files as
//! always. Beside that it keeps what would exist after a power cut: the content at the last sync of
//! each file, plus any part of what was written since, in any order, torn at sectors. A sync that
//! fails loses for good what it should have written, as on Linux.
#![allow(unsafe_code, reason = "SQLite's VFS is a C interface; this module is the one place that implements it")]

use std::{
    collections::HashMap,
    ffi::{CStr, c_char, c_int, c_void},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, OnceLock},
};

use rusqlite::ffi;

use crate::chance::Chance;

/// The name to open databases with.
pub const VFS: &str = "faulty";
const NAME: &CStr = c"faulty";
const SECTOR: usize = 512;

enum Change {
    Write(u64, Vec<u8>),
    Truncate(u64),
}

#[derive(Default)]
struct Image {
    durable: Vec<u8>,
    unsynced: Vec<Change>,
}

impl Image {
    fn apply(content: &mut Vec<u8>, change: &Change) {
        match change {
            Change::Write(offset, bytes) => {
                let start = usize::try_from(*offset).expect("small files");
                let end = start + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[start..end].copy_from_slice(bytes);
            }
            Change::Truncate(len) => content.resize(usize::try_from(*len).expect("small files"), 0),
        }
    }

    /// Some of what was not synced has reached the disk all the same.
    fn after_power_cut(&self, chance: &mut Chance) -> Vec<u8> {
        let mut content = self.durable.clone();
        let kept_of_ten = chance.below(11);
        for change in &self.unsynced {
            if chance.below(10) >= kept_of_ten {
                continue;
            }
            match change {
                Change::Write(offset, bytes) if chance.below(4) == 0 => {
                    let sectors = bytes.len().div_ceil(SECTOR);
                    let torn = (chance.below(sectors) * SECTOR).min(bytes.len());
                    Self::apply(&mut content, &Change::Write(*offset, bytes[..torn].to_vec()));
                }
                change => Self::apply(&mut content, change),
            }
        }
        content
    }
}

#[derive(Default)]
struct Disk {
    files: HashMap<String, Image>,
    full: bool,
    failing_syncs: u32,
    syncs: u64,
}

fn disks() -> MutexGuard<'static, HashMap<PathBuf, Disk>> {
    static DISKS: OnceLock<Mutex<HashMap<PathBuf, Disk>>> = OnceLock::new();
    DISKS.get_or_init(Mutex::default).lock().expect("no test panics while it holds the disks")
}

/// The disk under one directory.
pub struct FaultDisk {
    dir: PathBuf,
}

impl FaultDisk {
    /// Puts the disk under a directory, before anything is opened there.
    pub fn under(dir: &Path) -> Self {
        register();
        let dir = dir.canonicalize().expect("a directory");
        disks().insert(dir.clone(), Disk::default());
        Self { dir }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Disk) -> T) -> T {
        change(disks().get_mut(&self.dir).expect("a disk"))
    }

    /// Whether there is no more space.
    pub fn set_full(&self, full: bool) {
        self.change(|disk| disk.full = full);
    }

    /// Makes the next syncs fail.
    pub fn fail_syncs(&self, count: u32) {
        self.change(|disk| disk.failing_syncs = count);
    }

    pub fn syncs(&self) -> u64 {
        self.change(|disk| disk.syncs)
    }

    /// Writes the disk's content, if the power failed now, into another directory.
    pub fn cut_power(&self, into: &Path, chance: &mut Chance) {
        self.change(|disk| {
            for (name, image) in &disk.files {
                std::fs::write(into.join(name), image.after_power_cut(chance)).expect("written");
            }
        });
    }
}

impl Drop for FaultDisk {
    fn drop(&mut self) {
        disks().remove(&self.dir);
    }
}

/// One open file: SQLite's part, whose it is, and behind it in memory the system's own file.
#[repr(C)]
struct OpenFile {
    base: ffi::sqlite3_file,
    place: *mut (PathBuf, String),
}

struct RealVfs(*mut ffi::sqlite3_vfs);
// SAFETY: SQLite's VFS objects are immutable after their registration and used by all threads.
unsafe impl Send for RealVfs {}
// SAFETY: see above.
unsafe impl Sync for RealVfs {}

static REAL: OnceLock<RealVfs> = OnceLock::new();

fn register() {
    REAL.get_or_init(|| {
        // SAFETY: the default VFS exists in every build for this platform; the copy lives as long
        // as the process.
        unsafe {
            let real = ffi::sqlite3_vfs_find(std::ptr::null());
            let mut shim = Box::new(*real);
            shim.zName = NAME.as_ptr();
            shim.szOsFile = c_int::try_from(size_of::<OpenFile>()).expect("small") + (*real).szOsFile;
            shim.pNext = std::ptr::null_mut();
            shim.xOpen = Some(open);
            shim.xDelete = Some(delete);
            assert_eq!(ffi::sqlite3_vfs_register(Box::leak(shim), 0), ffi::SQLITE_OK);
            RealVfs(real)
        }
    });
}

fn real_vfs() -> *mut ffi::sqlite3_vfs {
    REAL.get().expect("registered").0
}

fn place_of(name: *const c_char) -> Option<(PathBuf, String)> {
    if name.is_null() {
        return None;
    }
    // SAFETY: SQLite passes a C string.
    let path = PathBuf::from(unsafe { CStr::from_ptr(name) }.to_str().ok()?);
    let dir = path.parent()?.to_owned();
    let file = path.file_name()?.to_str()?.to_owned();
    disks().contains_key(&dir).then_some((dir, file))
}

unsafe extern "C" fn open(
    _vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gives `szOsFile` bytes, of which ours come first.
    unsafe {
        let opened = file.cast::<OpenFile>();
        (*opened).base.pMethods = std::ptr::null();
        (*opened).place = std::ptr::null_mut();
        let vfs = real_vfs();
        let outcome = (*vfs).xOpen.expect("a method")(vfs, name, real(file), flags, out);
        if outcome != ffi::SQLITE_OK {
            return outcome;
        }
        if let Some((dir, file_name)) = place_of(name) {
            let present = std::fs::read(dir.join(&file_name)).unwrap_or_default();
            if let Some(disk) = disks().get_mut(&dir) {
                disk.files.entry(file_name.clone()).or_insert_with(|| Image { durable: present, unsynced: Vec::new() });
            }
            (*opened).place = Box::into_raw(Box::new((dir, file_name)));
        }
        (*opened).base.pMethods = &raw const METHODS;
        ffi::SQLITE_OK
    }
}

unsafe extern "C" fn delete(_vfs: *mut ffi::sqlite3_vfs, name: *const c_char, sync_dir: c_int) -> c_int {
    if let Some((dir, file)) = place_of(name)
        && let Some(disk) = disks().get_mut(&dir)
    {
        disk.files.remove(&file);
    }
    let vfs = real_vfs();
    // SAFETY: passed on as it came.
    unsafe { (*vfs).xDelete.expect("a method")(vfs, name, sync_dir) }
}

/// The system's own file, behind ours.
unsafe fn real(file: *mut ffi::sqlite3_file) -> *mut ffi::sqlite3_file {
    // SAFETY: `szOsFile` has room for both.
    unsafe { file.cast::<OpenFile>().add(1).cast() }
}

/// Runs something on the disk and the image of an open file.
unsafe fn on_disk<T>(file: *mut ffi::sqlite3_file, run: impl FnOnce(&mut Disk, &str) -> T) -> Option<T> {
    // SAFETY: `place` is ours, set at opening and freed at closing.
    let (dir, name) = unsafe { (*file.cast::<OpenFile>()).place.as_ref()? };
    disks().get_mut(dir).map(|disk| run(disk, name))
}

macro_rules! pass_on {
    ($($name:ident = $method:ident($($argument:ident: $type:ty),*);)*) => {
        $(unsafe extern "C" fn $name(file: *mut ffi::sqlite3_file, $($argument: $type),*) -> c_int {
            // SAFETY: passed on as it came, to the file behind ours.
            unsafe { let real = real(file); (*(*real).pMethods).$method.expect("a method")(real, $($argument),*) }
        })*
    };
}

pass_on! {
    read = xRead(buffer: *mut c_void, amount: c_int, offset: ffi::sqlite3_int64);
    file_size = xFileSize(size: *mut ffi::sqlite3_int64);
    lock = xLock(level: c_int);
    unlock = xUnlock(level: c_int);
    check_reserved = xCheckReservedLock(out: *mut c_int);
    file_control = xFileControl(op: c_int, argument: *mut c_void);
    sector_size = xSectorSize();
    characteristics = xDeviceCharacteristics();
    shm_map = xShmMap(page: c_int, size: c_int, extend: c_int, out: *mut *mut c_void);
    shm_lock = xShmLock(offset: c_int, count: c_int, flags: c_int);
    shm_unmap = xShmUnmap(delete: c_int);
    real_write = xWrite(buffer: *const c_void, amount: c_int, offset: ffi::sqlite3_int64);
    real_truncate = xTruncate(size: ffi::sqlite3_int64);
    real_sync = xSync(flags: c_int);
    real_close = xClose();
}

unsafe extern "C" fn shm_barrier(file: *mut ffi::sqlite3_file) {
    // SAFETY: passed on as it came.
    unsafe {
        let real = real(file);
        (*(*real).pMethods).xShmBarrier.expect("a method")(real);
    }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: the place was boxed at opening; SQLite does not use a file after closing it.
    unsafe {
        let opened = file.cast::<OpenFile>();
        if !(*opened).place.is_null() {
            drop(Box::from_raw((*opened).place));
            (*opened).place = std::ptr::null_mut();
        }
        real_close(file)
    }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    buffer: *const c_void,
    amount: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: SQLite passes `amount` readable bytes. The write and its note are under one lock, so
    // that a power cut sees both or none.
    unsafe {
        let bytes = std::slice::from_raw_parts(buffer.cast::<u8>(), usize::try_from(amount).expect("positive"));
        let change = Change::Write(u64::try_from(offset).expect("positive"), bytes.to_vec());
        let noted = on_disk(file, |disk, name| {
            if disk.full {
                return ffi::SQLITE_FULL;
            }
            let outcome = real_write(file, buffer, amount, offset);
            disk.files.entry(name.to_owned()).or_default().unsynced.push(change);
            outcome
        });
        noted.unwrap_or_else(|| real_write(file, buffer, amount, offset))
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: ffi::sqlite3_int64) -> c_int {
    // SAFETY: passed on as it came.
    unsafe {
        let change = Change::Truncate(u64::try_from(size).expect("positive"));
        on_disk(file, |disk, name| disk.files.entry(name.to_owned()).or_default().unsynced.push(change));
        real_truncate(file, size)
    }
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _flags: c_int) -> c_int {
    // SAFETY: only our own part of the file is used. The system's own sync is left out: what it
    // would do is kept in memory.
    let outcome = unsafe {
        on_disk(file, |disk, name| {
            let image = disk.files.entry(name.to_owned()).or_default();
            let unsynced = std::mem::take(&mut image.unsynced);
            if disk.failing_syncs > 0 {
                disk.failing_syncs -= 1;
                return ffi::SQLITE_IOERR_FSYNC;
            }
            disk.syncs += 1;
            unsynced.iter().for_each(|change| Image::apply(&mut image.durable, change));
            ffi::SQLITE_OK
        })
    };
    // SAFETY: passed on as it came.
    outcome.unwrap_or_else(|| unsafe { real_sync(file, ffi::SQLITE_SYNC_NORMAL) })
}

// Version 2: without memory-mapped reading, which would pass us by.
static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};
