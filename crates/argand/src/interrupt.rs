//! Ctrl-C, and being told to end (SIGTERM, SIGHUP): ends the program, or, where work must be put away first, raises a flag.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

static RAISED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);
static GENTLE: AtomicBool = AtomicBool::new(false);

/// The exit code of a program that was interrupted.
pub const CODE: i32 = 130;

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

/// Takes over Ctrl-C and the signals that tell a program to end.
pub fn install() {
    // Under `nohup` a hangup is to be ignored, and a handler would be called for it too.
    if hangup_is_ignored() {
        return;
    }
    let flag = flag();
    // Without a handler Ctrl-C ends the program at once, which is good enough.
    let _ = ctrlc::set_handler(move || {
        if !GENTLE.load(Ordering::Relaxed) || flag.swap(true, Ordering::Relaxed) {
            std::process::exit(CODE);
        }
    });
}

/// Whether whoever started the program wants it to outlive the terminal.
pub fn hangup_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    ignored.is_some_and(|signals| signals & 1 == 1)
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
