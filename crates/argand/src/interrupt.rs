//! Ctrl-C: ends the program, or, where work must be put away first, raises a flag.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

static RAISED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);
static GENTLE: AtomicBool = AtomicBool::new(false);

/// The exit code of a program that was interrupted.
const CODE: i32 = 130;

/// The work was interrupted.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// While one is alive, Ctrl-C only raises the flag; pressed twice it ends the program all the same.
pub struct Gentle;

impl Drop for Gentle {
    fn drop(&mut self) {
        GENTLE.store(false, Ordering::Relaxed);
    }
}

/// Takes over Ctrl-C.
pub fn install() {
    let flag = flag();
    // Without a handler Ctrl-C ends the program at once, which is good enough.
    let _ = ctrlc::set_handler(move || {
        if !GENTLE.load(Ordering::Relaxed) || flag.swap(true, Ordering::Relaxed) {
            std::process::exit(CODE);
        }
    });
}

/// From now on Ctrl-C only raises the flag, which is lowered first.
pub fn gentle() -> Gentle {
    RAISED.store(false, Ordering::Relaxed);
    GENTLE.store(true, Ordering::Relaxed);
    Gentle
}

/// The flag itself.
pub fn flag() -> Arc<AtomicBool> {
    Arc::clone(&RAISED)
}

/// Whether Ctrl-C was pressed.
pub fn raised() -> bool {
    RAISED.load(Ordering::Relaxed)
}

/// Fails when Ctrl-C was pressed.
pub fn check() -> Result<(), Interrupted> {
    if raised() { Err(Interrupted) } else { Ok(()) }
}
