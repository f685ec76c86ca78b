//! The table of settings: every key, its environment name, its kind with bounds, and its meaning.
//!
//! Parsing, validation, `docs/configuration.md` and `.env.example` come from this table. To add a
//! setting, add a field with its default in [`super::settings`] and a row in one of the parts here.

mod dialects;
mod limits;
mod listeners;
mod stored;

pub(super) use super::setting::{ENV_CONFIG, ENV_PREFIX, SECTIONS, Setting};

/// Every setting, in the order of the reference.
pub(super) fn rows() -> impl Iterator<Item = &'static Setting> + Clone {
    [listeners::ROWS, dialects::ROWS, limits::ROWS, stored::ROWS].into_iter().flatten()
}

/// The row of a key.
pub(super) fn find(key: &str) -> Option<&'static Setting> {
    rows().find(|setting| setting.key == key)
}
