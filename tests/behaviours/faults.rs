//! Every fault that a registry or the network before it can produce, one claim each: how the push ends,
//! for which reason, after how many tries; that the destination holds the very image or no tag, and that no
//! credential was told. A stall is proven in `distribution`, where time can be paused.

mod answers;
mod certificates;
mod connections;
mod crashes;
mod images;
mod losses;
mod mounts;
mod redirects;
mod scans;
mod storage;
mod tags;
mod tokens;
mod uploads;
