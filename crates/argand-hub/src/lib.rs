//! The local store of models and where they come from.
//!
//! A model is named by a catalogue name, by `owner/name[:file-or-quantisation][@revision]` of a Hugging Face hub, or
//! by a path of the user's own. What is fetched lies in the layout of the Hugging Face cache, so that models are
//! shared with every other tool that uses it. Content is checked against its digest before it becomes visible, and
//! no name that comes from outside is joined to a path unchecked. The crate never looks inside model files, never
//! unpacks archives and never runs what it downloads.

mod catalogue;
mod config;
mod error;
mod http;
mod huggingface;
mod layout;
mod names;
mod package;
mod partial;
mod progress;
mod select;
mod spec;
mod store;

pub use catalogue::{Beside, CatalogueEntry, Source, catalogue, find, near_names};
pub use config::Config;
pub use error::{HubError, Result, human_bytes};
pub use names::{RepoId, check_file_name, check_revision};
pub use progress::{Progress, Silent};
pub use spec::{ModelSpec, RepoSpec};
pub use store::{ModelFormat, Removed, ResolvedModel, Store, StoredFile, StoredModel};
