//! Deliveries of webhooks while things break: whatever is answered with 200 counts once, whatever is not is sent again and counts once all the
//! same, and nothing of any of them is in a log.

mod crashes;
mod crowds;
mod leaks;
mod outages;
mod rotation;
mod sender;
