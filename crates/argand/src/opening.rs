//! What opening a model has in common, whatever it is for.

use crate::machine::Machine;
use argand_engine::LoadOptions;

/// `open` and `open_with` of a type that has `load`, by what is opened and what else may be wrong with it.
macro_rules! openers {
    ($what:literal, $refused:literal) => {
        #[doc = concat!("Opens ", $what, " by catalogue name, path, or `owner/name` of the Hugging Face hub, fetching it first")]
        /// where it has to be.
        ///
        /// # Errors
        #[doc = concat!("It cannot be found, fetched or loaded, or ", $refused, ".")]
        pub fn open(name: &str) -> Result<Self, $crate::Error> {
            let (mut fetching, mut loading) = (argand_hub::Silent, |_| {});
            Self::open_with(name, &argand_engine::LoadOptions::default(), &mut fetching, &mut loading)
        }

        #[doc = concat!("Opens ", $what, " with options, and tells how far fetching and loading have come.")]
        ///
        /// # Errors
        /// As [`Self::open`].
        pub fn open_with(
            name: &str,
            options: &argand_engine::LoadOptions,
            fetching: &mut dyn argand_hub::Progress,
            loading: &mut dyn FnMut(argand_engine::Loading),
        ) -> Result<Self, $crate::Error> {
            Self::load(&$crate::model::locate(name, fetching)?, options, loading)
        }
    };
}
pub(crate) use openers;

/// The options with as many threads as this machine should run, unless they say.
pub(crate) fn threaded(options: &LoadOptions) -> LoadOptions {
    let threads = options.threads.or_else(|| Some(Machine::read().threads().count));
    LoadOptions { threads, ..options.clone() }
}
