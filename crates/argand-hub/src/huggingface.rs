//! Repositories of a Hugging Face hub: which files a revision has, and how one file comes into the cache.
//!
//! Protocol as `huggingface_hub` speaks it: `/api/models/{repo}/revision/{rev}` and `/{repo}/resolve/{commit}/{file}`.

use std::io::Read;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use crate::config::Config;
use crate::error::{HubError, Result, human_bytes};
use crate::http::{Answer, Client, network};
use crate::layout::RepoDir;
use crate::names::{RepoId, check_etag, check_file_name, is_hex};
use crate::partial::{CHUNK, Expected, Partial};
use crate::progress::Progress;

const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A revision of a repository, as the hub describes it.
#[derive(Debug)]
pub(crate) struct RepoInfo {
    pub(crate) commit: String,
    pub(crate) files: Vec<RemoteFile>,
}

/// A file of the hub; `facts` where the hub lists them.
#[derive(Debug, Clone)]
pub(crate) struct RemoteFile {
    pub(crate) name: String,
    pub(crate) facts: Option<Facts>,
}

/// What tells one content from another.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    /// Name of the content in the cache.
    pub(crate) etag: String,
    /// How the content is checked.
    pub(crate) expected: Expected,
    /// Length.
    pub(crate) bytes: u64,
}

impl Facts {
    /// Facts of a content that is known by its SHA-256.
    pub(crate) fn sha256(digest: &str, bytes: u64) -> Self {
        Self { etag: digest.to_owned(), expected: Expected::Sha256(digest.to_owned()), bytes }
    }
}

#[derive(Deserialize)]
struct ApiModel {
    sha: Option<String>,
    #[serde(default)]
    siblings: Vec<ApiFile>,
}

#[derive(Deserialize)]
struct ApiFile {
    rfilename: String,
    size: Option<u64>,
    #[serde(rename = "blobId")]
    blob_id: Option<String>,
    lfs: Option<ApiLfs>,
}

#[derive(Deserialize)]
struct ApiLfs {
    sha256: Option<String>,
    size: Option<u64>,
}

impl ApiFile {
    fn facts(&self) -> Option<Facts> {
        if let Some(lfs) = &self.lfs {
            let digest = lfs.sha256.as_ref().filter(|digest| is_hex(digest, 64))?;
            return Some(Facts::sha256(digest, lfs.size.or(self.size)?));
        }
        let id = self.blob_id.clone().filter(|id| is_hex(id, 40))?;
        Some(Facts { etag: id.clone(), expected: Expected::GitBlob(id), bytes: self.size? })
    }
}

/// A client of the hub that the configuration names.
pub(crate) struct Hub<'a> {
    client: Client<'a>,
    config: &'a Config,
}

impl<'a> Hub<'a> {
    pub(crate) fn new(config: &'a Config) -> Self {
        Self { client: Client::new(config), config }
    }

    /// Asks for a revision. Files with unsafe names are left out with a note: they can never be asked for.
    pub(crate) fn info(&self, repo: &RepoId, revision: &str, progress: &mut dyn Progress) -> Result<RepoInfo> {
        let path = format!("/api/models/{repo}/revision/{}?blobs=true", encode(revision));
        let ask = |_: &mut dyn Progress| (false, self.client.get_json::<ApiModel>(&path));
        let model = self.client.retrying(progress, ask);
        let model = model.map_err(|error| self.about(error, repo, &format!("revision {revision}")))?;
        let commit = model.sha.filter(|sha| is_hex(sha, 40)).ok_or_else(|| HubError::Protocol {
            url: format!("{}{path}", self.config.endpoint),
            reason: "it names no commit of 40 hexadecimal digits".into(),
        })?;
        let mut files = Vec::with_capacity(model.siblings.len());
        for file in model.siblings {
            match check_file_name(&file.rfilename) {
                Ok(()) => files.push(RemoteFile { facts: file.facts(), name: file.rfilename }),
                Err(error) => progress.note(&error.to_string()),
            }
        }
        Ok(RepoInfo { commit, files })
    }

    /// Length and digest of a file that the list of files did not tell: from the headers of the file itself.
    pub(crate) fn facts(&self, repo: &RepoId, commit: &str, name: &str, progress: &mut dyn Progress) -> Result<Facts> {
        let path = resolve_path(repo, commit, name);
        let ask = |_: &mut dyn Progress| (false, self.client.get(&path, 0));
        let answer = self.client.retrying(progress, ask).map_err(|error| self.about(error, repo, name))?;
        let missing = |what: &str| HubError::Protocol { url: answer.url.clone(), reason: format!("no {what}") };
        let etag = answer.header("x-linked-etag").or_else(|| answer.header("etag"));
        let etag = etag.map(|etag| etag.trim_start_matches("W/").trim_matches('"').to_owned());
        let etag = etag.ok_or_else(|| missing("ETag header"))?;
        check_etag(&etag)?;
        let bytes = answer.header("x-linked-size").or_else(|| answer.header("content-length"));
        let bytes =
            bytes.and_then(|text| text.parse().ok()).ok_or_else(|| missing("X-Linked-Size or Content-Length"))?;
        if is_hex(&etag, 64) {
            return Ok(Facts::sha256(&etag, bytes));
        }
        // A mirror's ETag of another form says nothing about the content.
        Ok(Facts { etag, expected: Expected::LengthOnly, bytes })
    }

    /// Brings one content into the cache, or finds it there, and links it into the snapshot under its name.
    pub(crate) fn fetch(
        &self,
        dir: &RepoDir,
        commit: &str,
        name: &str,
        facts: &Facts,
        source: &str,
        progress: &mut dyn Progress,
    ) -> Result<()> {
        let Facts { etag, expected, bytes } = facts;
        let blob = dir.blob(etag)?;
        let _lock = dir.lock(etag, self.config, progress)?;
        progress.start(Some(*bytes), name);
        if blob.metadata().is_ok_and(|found| found.len() == *bytes) {
            progress.advance(*bytes);
        } else {
            let mut partial = Partial::open(&dir.partial(etag)?, expected.clone(), *bytes, u64::MAX, self.config)?;
            if partial.len() > 0 {
                progress.note(&format!("resuming {name} at {}", human_bytes(partial.len())));
                progress.advance(partial.len());
            }
            self.client
                .retrying(progress, |progress| {
                    let before = partial.len();
                    let outcome = self.attempt(source, name, &mut partial, progress);
                    (partial.len() > before, outcome)
                })
                .map_err(|error| self.about(error, dir.repo(), name))?;
            partial.finish(&blob)?;
        }
        progress.finish();
        dir.link(commit, name, etag)
    }

    /// One request for what is missing. What arrives before a failure stays.
    fn attempt(&self, source: &str, name: &str, partial: &mut Partial, progress: &mut dyn Progress) -> Result<()> {
        self.config.check_cancel()?;
        if partial.len() == partial.bytes() {
            return Ok(());
        }
        let answer = self.client.get(source, partial.len())?;
        if partial.len() > 0 && !continues(&answer, partial.len()) {
            progress.note("the server cannot resume; starting again");
            partial.restart()?;
            progress.start(Some(partial.bytes()), name);
        }
        let length =
            answer.last.headers().get("content-length").and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if let Some(found) = length.map(|length| partial.len().saturating_add(length))
            && found != partial.bytes()
        {
            return Err(HubError::WrongSize { file: answer.url, expected: partial.bytes(), found });
        }
        let url = answer.url;
        let mut reader = answer.last.into_body().into_reader();
        let mut buffer = vec![0; CHUNK];
        loop {
            self.config.check_cancel()?;
            match reader.read(&mut buffer).map_err(|error| network(&url, &error.to_string()))? {
                0 if partial.len() == partial.bytes() => return Ok(()),
                0 => {
                    return Err(network(
                        &url,
                        &format!("the answer ended at {} of {} bytes", partial.len(), partial.bytes()),
                    ));
                }
                read => {
                    partial.write(&buffer[..read])?;
                    progress.advance(read as u64);
                }
            }
        }
    }

    /// Says in a failed answer which repository and file it was about.
    fn about(&self, error: HubError, repo: &RepoId, what: &str) -> HubError {
        let HubError::Status { status, ref code, ref message, .. } = error else { return error };
        let endpoint = self.config.endpoint.clone();
        let missing =
            |what| HubError::NotOnHub { endpoint: endpoint.clone(), what, token: self.config.token.is_some() };
        match (status, code.as_deref()) {
            (_, Some("RepoNotFound")) => missing(format!("repository {repo}")),
            (404, _) => missing(format!("{what} in {repo}")),
            (401 | 403, _) => HubError::Gated { endpoint, repo: repo.to_string(), message: message.clone() },
            _ => error,
        }
    }
}

/// Address of a file's content, below the endpoint.
pub(crate) fn resolve_path(repo: &RepoId, revision: &str, name: &str) -> String {
    let name = name.split('/').map(encode).collect::<Vec<_>>().join("/");
    format!("/{repo}/resolve/{}/{name}", encode(revision))
}

/// Whether an answer goes on exactly at `from`.
fn continues(answer: &Answer, from: u64) -> bool {
    let range = answer.last.headers().get("content-range").and_then(|value| value.to_str().ok());
    answer.last.status() == 206 && range.is_some_and(|range| range.starts_with(&format!("bytes {from}-")))
}

fn encode(segment: &str) -> String {
    utf8_percent_encode(segment, SEGMENT).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_encoded_once_and_keep_their_slashes() {
        let repo = RepoId::new("a/b").unwrap();
        assert_eq!(
            resolve_path(&repo, "refs/pr/1", "sub dir/ü%.gguf"),
            "/a/b/resolve/refs%2Fpr%2F1/sub%20dir/%C3%BC%25.gguf"
        );
    }

    #[test]
    fn listed_files_are_checked_by_the_digest_that_fits_them() {
        let parse = |text: &str| serde_json::from_str::<ApiFile>(text).unwrap().facts();
        let digest = "a".repeat(64);
        let large = format!(
            r#"{{"rfilename":"x","size":5,"blobId":"{}","lfs":{{"sha256":"{digest}","size":9}}}}"#,
            "b".repeat(40)
        );
        let facts = parse(&large).unwrap();
        assert_eq!((facts.expected, facts.bytes), (Expected::Sha256(digest), 9));
        let small = format!(r#"{{"rfilename":"x","size":5,"blobId":"{}"}}"#, "b".repeat(40));
        assert!(matches!(parse(&small).unwrap().expected, Expected::GitBlob(_)));
        assert!(parse(r#"{"rfilename":"x","size":5,"blobId":"../../x"}"#).is_none());
        assert!(parse(r#"{"rfilename":"x","lfs":{"sha256":"zz"}}"#).is_none());
    }
}
