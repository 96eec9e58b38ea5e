//! The protocol by value: packets of real clients against golden replies, the rules one by one, and any bytes at all.

mod contain;
mod golden;
mod packet;
mod properties;
mod rules;
mod strangers;
