//! What is going on, on a terminal, for steps of more than a second.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use mnnc::quantize::Watcher;

/// A step under way; its line disappears when this is dropped.
pub struct Step {
    watcher: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Step {
    /// Begins a step. Nothing shows before a second has passed, or where stderr is no terminal.
    pub fn begin(what: impl Into<String>) -> Self {
        if !std::io::stderr().is_terminal() {
            return Step { watcher: None };
        }
        let what = what.into();
        let (sender, receiver) = channel::<()>();
        let watcher = std::thread::spawn(move || {
            if receiver.recv_timeout(Duration::from_secs(1)) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            let bar = ProgressBar::new_spinner().with_message(what);
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(100));
            // Ends when the sender is dropped.
            let _ = receiver.recv();
            bar.finish_and_clear();
        });
        Step { watcher: Some((sender, watcher)) }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some((sender, watcher)) = self.watcher.take() {
            drop(sender);
            let _ = watcher.join();
        }
    }
}

/// A bar for each stage, where stderr is a terminal.
#[derive(Default)]
pub struct Bar(Mutex<Option<ProgressBar>>);

impl Watcher for Bar {
    fn stage(&self, what: &str) {
        // Draws nothing where stderr is no terminal.
        let bar = ProgressBar::new(0).with_message(what.to_owned());
        if let Ok(style) = ProgressStyle::with_template("{msg:24} {bar:30} {pos}/{len} ({elapsed})") {
            bar.set_style(style);
        }
        if let Ok(mut slot) = self.0.lock()
            && let Some(old) = slot.replace(bar)
        {
            old.finish_and_clear();
        }
    }
    fn progress(&self, done: usize, total: usize) {
        if let Ok(slot) = self.0.lock()
            && let Some(bar) = &*slot
        {
            bar.set_length(total as u64);
            bar.set_position(done as u64);
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Ok(mut slot) = self.0.lock()
            && let Some(bar) = slot.take()
        {
            bar.finish_and_clear();
        }
    }
}
