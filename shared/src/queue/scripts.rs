//! The scripts, loaded on first use and found again by their hash.

use redis::Script;

macro_rules! script {
    ($file:literal) => {
        Script::new(concat!(include_str!("lua/common.lua"), include_str!(concat!("lua/", $file))))
    };
}

#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) push: Script,
    pub(super) claim: Script,
    pub(super) settle: Script,
    pub(super) give_back: Script,
    pub(super) extend: Script,
    pub(super) cancel: Script,
    pub(super) replace: Script,
    pub(super) settings: Script,
    pub(super) organisations: Script,
    pub(super) rate: Script,
    pub(super) missing: Script,
    pub(super) stats: Script,
    pub(super) window: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            push: script!("push.lua"),
            claim: script!("claim.lua"),
            settle: script!("settle.lua"),
            give_back: script!("give_back.lua"),
            extend: script!("extend.lua"),
            cancel: script!("cancel.lua"),
            replace: script!("replace.lua"),
            settings: script!("settings.lua"),
            organisations: script!("organisations.lua"),
            rate: script!("rate.lua"),
            missing: script!("missing.lua"),
            stats: script!("stats.lua"),
            window: script!("window.lua"),
        }
    }
}
