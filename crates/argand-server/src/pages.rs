//! The pages of the folder `web`, which the binary carries.

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;

/// Files by name. What has no name of its own in a path is the chat page.
macro_rules! files {
    ($($name:literal),* $(,)?) => {
        const FILES: &[(&str, &[u8])] = &[$(($name, include_bytes!(concat!("../../../web/", $name)))),*];
    };
}

files![
    "index.html",
    "admin.html",
    "style.css",
    "chat.css",
    "admin.css",
    "icon.svg",
    "admin-keys.js",
    "admin-models.js",
    "admin-usage.js",
    "admin.js",
    "answer.js",
    "api.js",
    "chat.js",
    "composer.js",
    "dom.js",
    "export.js",
    "format.js",
    "highlight.js",
    "inline.js",
    "markdown.js",
    "menu.js",
    "message.js",
    "options.js",
    "pictures.js",
    "plot.js",
    "sidebar.js",
    "store.js",
    "theme.js",
    "thread.js",
    "tree.js",
];

/// Nothing from elsewhere, nothing inline, in nobody's frame.
const POLICY: &str = "default-src 'self'; base-uri 'none'; frame-ancestors 'none'; object-src 'none'";

/// The file that a path asks for.
pub fn find(path: &str) -> Option<Response> {
    let name = match path.strip_prefix('/')? {
        "" => "index.html",
        "admin" => "admin.html",
        name => name,
    };
    let (name, bytes) = FILES.iter().find(|(known, _)| *known == name)?;
    let kind = match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    };
    let mut response = Response::new(Body::from(*bytes));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    // Another version of the binary has other pages.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Some(response)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_file_of_the_folder_is_served() {
        let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../web")).expect("the folder");
        let files = folder.flatten().filter(|entry| entry.path().is_file());
        let mut files: BTreeSet<String> = files.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        assert!(files.remove("README.md"));
        let served: BTreeSet<String> = FILES.iter().map(|(name, _)| name.to_string()).collect();
        assert_eq!(files, served);
        assert!(
            find("/").is_some() && find("/admin").is_some() && find("/../Cargo.toml").is_none() && find("x").is_none()
        );
    }
}
