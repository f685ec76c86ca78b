//! The app's files over HTTP.

use std::{fs, io::Read, path::Path};

use crate::harness::Edge;

const PAGE: &str = "<!doctype html><title>the app</title>";

fn edge(dir: &Path) -> Edge {
    fs::write(dir.join("index.html"), PAGE).expect("writes");
    fs::create_dir_all(dir.join("assets")).expect("creates");
    Edge::with(|settings| settings.web.static_path = Some(dir.to_owned()))
}

fn script() -> String {
    "export const answer = 42;\n".repeat(100)
}

#[actix_web::test]
async fn files_have_their_type_a_tag_and_security_headers() {
    let dir = tempfile::tempdir().expect("temp dir");
    let edge = edge(dir.path());
    fs::write(dir.path().join("assets/app.js"), script()).expect("writes");
    let answer = edge.get("/assets/app.js").await;
    assert_eq!((answer.status, answer.text()), (200, script()));
    assert_eq!(answer.header("content-type"), Some("text/javascript; charset=utf-8"));
    assert_eq!(answer.header("cache-control"), Some("no-cache"));
    assert_eq!(answer.header("vary"), Some("Accept-Encoding"));
    assert_eq!(answer.header("content-length"), Some(script().len().to_string().as_str()));
    assert!(answer.header("etag").is_some_and(|tag| tag.starts_with('"')));
    assert!(answer.header("last-modified").is_some());
    assert_eq!(answer.header("content-encoding"), None);
}

#[actix_web::test]
async fn without_a_folder_the_built_in_app_is_served() {
    let edge = Edge::start();
    let page = edge.get("/").await;
    assert_eq!(page.status, 200);
    assert!(page.text().starts_with("<!doctype html>"));
    let packed = edge.request("GET", "/assets/app.js", &[("Accept-Encoding", "gzip, br")]).await;
    assert_eq!((packed.status, packed.header("content-encoding")), (200, Some("br")));
}

#[actix_web::test]
async fn hashed_names_are_immutable_and_pages_are_asked_about() {
    let dir = tempfile::tempdir().expect("temp dir");
    let edge = edge(dir.path());
    for name in ["assets/app-BxYz12Ab.js", "assets/app.3f2a9c1b.css"] {
        fs::write(dir.path().join(name), "x").expect("writes");
        let answer = edge.get(&format!("/{name}")).await;
        assert_eq!(answer.header("cache-control"), Some("public, max-age=31536000, immutable"), "{name}");
    }
    assert_eq!(edge.get("/").await.header("cache-control"), Some("no-cache"));
}

#[actix_web::test]
async fn text_is_compressed_as_the_client_likes_it() {
    let dir = tempfile::tempdir().expect("temp dir");
    let edge = edge(dir.path());
    fs::write(dir.path().join("assets/app.js"), script()).expect("writes");
    let get = async |accept: &str| edge.request("GET", "/assets/app.js", &[("Accept-Encoding", accept)]).await;

    let packed = get("gzip, deflate, br").await;
    assert_eq!(packed.header("content-encoding"), Some("br"));
    let mut plain = String::new();
    brotli::Decompressor::new(&packed.body[..], 4096).read_to_string(&mut plain).expect("valid brotli");
    assert_eq!(plain, script());

    let zipped = get("br;q=0.2, gzip;q=0.8").await;
    assert_eq!(zipped.header("content-encoding"), Some("gzip"));
    plain.clear();
    flate2::read::GzDecoder::new(&zipped.body[..]).read_to_string(&mut plain).expect("valid gzip");
    assert_eq!(plain, script());

    let identity = get("br;q=0, gzip;q=0").await;
    assert_eq!((identity.header("content-encoding"), identity.text()), (None, script()));
    let tags = [packed.header("etag"), zipped.header("etag"), identity.header("etag")];
    assert!(tags[0] != tags[1] && tags[1] != tags[2] && tags[0] != tags[2], "{tags:?}");
}

#[actix_web::test]
async fn files_compressed_in_advance_are_served_as_they_are() {
    let dir = tempfile::tempdir().expect("temp dir");
    let edge = edge(dir.path());
    fs::write(dir.path().join("assets/app.js"), script()).expect("writes");
    fs::write(dir.path().join("assets/app.js.br"), "made by the build").expect("writes");
    let answer = edge.request("GET", "/assets/app.js", &[("Accept-Encoding", "br")]).await;
    assert_eq!(answer.text(), "made by the build");
    assert_eq!(answer.header("content-encoding"), Some("br"));
    assert_eq!(answer.header("content-type"), Some("text/javascript; charset=utf-8"));
}

#[actix_web::test]
async fn files_that_the_client_has_are_not_sent_again() {
    let dir = tempfile::tempdir().expect("temp dir");
    let edge = edge(dir.path());
    for encoding in ["identity", "br"] {
        let first = edge.request("GET", "/", &[("Accept-Encoding", encoding)]).await;
        let tag = first.header("etag").expect("a tag").to_owned();
        let again = edge.request("GET", "/", &[("Accept-Encoding", encoding), ("If-None-Match", &tag)]).await;
        assert_eq!((again.status, again.body.len()), (304, 0));
        assert_eq!(again.header("etag"), Some(tag.as_str()));
        assert_eq!(again.header("vary"), Some("Accept-Encoding"));
    }
    let date = edge.get("/").await.header("last-modified").expect("a date").to_owned();
    assert_eq!(edge.request("GET", "/", &[("If-Modified-Since", &date)]).await.status, 304);
    fs::write(dir.path().join("index.html"), "changed").expect("writes");
    let changed = edge.request("GET", "/", &[("If-None-Match", "\"old\"")]).await;
    assert_eq!((changed.status, changed.text()), (200, "changed".to_owned()));
}

#[actix_web::test]
async fn parts_of_a_file_can_be_asked_for() {
    let dir = tempfile::tempdir().expect("temp dir");
    let edge = edge(dir.path());
    fs::write(dir.path().join("digits.txt"), "0123456789").expect("writes");
    let part = async |range: &str| edge.request("GET", "/digits.txt", &[("Range", range), ("Accept-Encoding", "br")]).await;
    for (range, content_range, body) in
        [("bytes=2-4", "bytes 2-4/10", "234"), ("bytes=7-", "bytes 7-9/10", "789"), ("bytes=-1", "bytes 9-9/10", "9")]
    {
        let answer = part(range).await;
        assert_eq!((answer.status, answer.text().as_str()), (206, body));
        assert_eq!(answer.header("content-range"), Some(content_range));
    }
    let beyond = part("bytes=10-").await;
    assert_eq!((beyond.status, beyond.header("content-range")), (416, Some("bytes */10")));
    assert_eq!(part("bytes=0-1,3-4").await.status, 200);

    let tag = edge.get("/digits.txt").await.header("etag").expect("a tag").to_owned();
    let same = [("Range", "bytes=0-1"), ("If-Range", tag.as_str())];
    assert_eq!(edge.request("GET", "/digits.txt", &same).await.status, 206);
    let other = [("Range", "bytes=0-1"), ("If-Range", "\"old\"")];
    assert_eq!(edge.request("GET", "/digits.txt", &other).await.status, 200);
}

#[actix_web::test]
async fn a_large_file_comes_whole_and_in_parts() {
    let dir = tempfile::tempdir().expect("temp dir");
    let edge = edge(dir.path());
    let content: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
    fs::write(dir.path().join("big.bin"), &content).expect("writes");
    assert!(edge.get("/big.bin").await.body == content);
    let part = edge.request("GET", "/big.bin", &[("Range", "bytes=1000000-2999998")]).await;
    assert_eq!(part.status, 206);
    assert!(part.body == content[1_000_000..=2_999_998]);
}

#[actix_web::test]
async fn head_has_the_headers_of_get_and_no_body() {
    let dir = tempfile::tempdir().expect("temp dir");
    let edge = edge(dir.path());
    fs::write(dir.path().join("big.bin"), vec![0; 3_000_000]).expect("writes");
    for path in ["/", "/big.bin"] {
        let get = edge.get(path).await;
        let head = edge.request("HEAD", path, &[]).await;
        assert_eq!((head.status, head.body.len()), (200, 0));
        for header in ["content-length", "content-type", "etag"] {
            assert_eq!(head.header(header), get.header(header), "{path} {header}");
        }
    }
}

#[actix_web::test]
async fn routes_of_the_app_get_its_page_and_missing_files_do_not() {
    let dir = tempfile::tempdir().expect("temp dir");
    let edge = edge(dir.path());
    for path in ["/", "/agents", "/agents/planner?tab=log", "/assets", "/a/b/c/"] {
        let answer = edge.request("GET", path, &[("Accept", "text/html,*/*;q=0.8")]).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, PAGE), "{path}");
        assert_eq!(answer.header("location"), None);
    }
    for path in ["/missing.js", "/assets/missing.css", "/agents/missing.png"] {
        let answer = edge.request("GET", path, &[("Accept", "text/html,*/*")]).await;
        assert_eq!((answer.status, answer.error_code().as_str()), (404, "not_found"), "{path}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
    }
    assert_eq!(edge.request("GET", "/agents", &[("Accept", "application/json")]).await.status, 404);
}

#[actix_web::test]
async fn nothing_outside_the_folder_is_served() {
    let parent = tempfile::tempdir().expect("temp dir");
    fs::write(parent.path().join("secret.txt"), "secret").expect("writes");
    let dir = parent.path().join("app");
    fs::create_dir(&dir).expect("creates");
    let edge = edge(&dir);
    fs::write(dir.join(".env"), "secret").expect("writes");
    std::os::unix::fs::symlink(parent.path().join("secret.txt"), dir.join("link.txt")).expect("links");
    for path in [
        "/../secret.txt",
        "/assets/../../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/%2e%2e%2fsecret.txt",
        "/..%5csecret.txt",
        "/..\\secret.txt",
        "/%252e%252e/secret.txt",
        "/.env",
        "/%2eenv",
        "/link.txt",
        "/secret.txt%00.html",
        "//secret.txt",
        "/./../secret.txt",
        "/%",
        "/%c0%ae%c0%ae/secret.txt",
    ] {
        let answer = edge.get(path).await;
        assert!(matches!(answer.status, 400 | 404), "{path}: {}", answer.status);
        assert!(!answer.text().contains("secret"), "{path}");
    }
}

#[actix_web::test]
async fn other_methods_are_refused_with_those_there_are() {
    let edge = Edge::start();
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
        let answer = edge.request(method, "/index.html", &[]).await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")), "{method}");
    }
}
