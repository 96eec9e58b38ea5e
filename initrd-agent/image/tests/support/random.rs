//! Random trees as plain values, so that a tree that fails can be made smaller. [`super::plant`] makes them real.
//!
//! Only what ext4, XFS and btrfs all can hold is in them: a difference is then an error and no matter of taste.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// A tree, and what is changed in it between two captures.
#[derive(Debug, Clone)]
pub struct Tree {
    pub root: Meta,
    pub items: Vec<Item>,
    pub edits: Vec<Edit>,
}

/// One name.
#[derive(Debug, Clone)]
pub struct Item {
    /// One of the directories made before.
    pub parent: Index,
    pub name: Vec<u8>,
    pub kind: Kind,
    pub meta: Meta,
}

#[derive(Debug, Clone)]
pub enum Kind {
    Directory,
    File {
        pieces: Vec<Piece>,
        tail: u64,
    },
    Symlink(Vec<u8>),
    Fifo,
    Device {
        block: bool,
        major: u32,
        minor: u32,
    },
    /// Another name of something that is no directory and was made before.
    Link(Index),
}

/// A part of a file, after a gap.
#[derive(Debug, Clone)]
pub struct Piece {
    pub gap: u64,
    pub len: u64,
    pub filling: Filling,
}

#[derive(Debug, Clone, Copy)]
pub enum Filling {
    Noise(u64),
    Zeros,
    /// Reserved and never written.
    Reserved,
    /// Written, then made a hole again.
    Punched,
}

#[derive(Debug, Clone)]
pub struct Meta {
    pub mode: u32,
    pub owner: (u32, u32),
    pub time: (i64, u32),
    /// Name and value.
    pub attributes: Vec<(String, Vec<u8>)>,
    /// What setfacl takes.
    pub acl: Option<String>,
    /// The value of `security.capability`, for files.
    pub capability: Option<Vec<u8>>,
    /// What chattr takes.
    pub flag: Option<&'static str>,
}

/// One change.
#[derive(Debug, Clone)]
pub struct Edit {
    pub item: Index,
    pub change: Change,
}

#[derive(Debug, Clone)]
pub enum Change {
    /// Other bytes at this place; size and time as before.
    Hidden {
        at: Index,
        seed: u64,
    },
    Append(u64),
    Truncate(Index),
    Rename(Vec<u8>),
    Remove,
    Mode(u32),
    Time((i64, u32)),
}

/// Any tree of at most this many names.
pub fn tree(names: usize) -> impl Strategy<Value = Tree> {
    (meta(), vec(item(), 1..names), vec(edit(), 0..12)).prop_map(|(root, items, edits)| {
        // A root that cannot be changed could not be filled.
        Tree { root: Meta { flag: None, ..root }, items, edits }
    })
}

fn item() -> impl Strategy<Value = Item> {
    (any::<Index>(), name(), kind(), meta()).prop_map(|(parent, name, kind, meta)| Item {
        parent,
        name,
        kind,
        meta,
    })
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    let byte = any::<u8>().prop_map(|b| if b == 0 || b == b'/' { b'_' } else { b });
    prop_oneof![
        3 => "[a-z]{1,8}".prop_map(String::into_bytes),
        3 => vec(byte.clone(), 1..20),
        1 => vec(byte, 255),
        1 => select(vec![&b"-rf"[..], b"...", b" ", b"\n", b"a\\012b", b"~", b"\xc3\x28", b"*.?[x]"])
            .prop_map(<[u8]>::to_vec),
    ]
    .prop_filter("these are directories' own", |name| name != b"." && name != b"..")
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        4 => Just(Kind::Directory),
        9 => (vec(piece(), 0..7), prop_oneof![Just(0), 1..70_000_u64])
            .prop_map(|(pieces, tail)| Kind::File { pieces, tail }),
        2 => vec(1..=255_u8, 1..1000).prop_map(Kind::Symlink),
        1 => Just(Kind::Fifo),
        // XFS has 9 bits for a major number and 18 for a minor.
        1 => (any::<bool>(), 0..512_u32, 0..262_144_u32)
            .prop_map(|(block, major, minor)| Kind::Device { block, major, minor }),
        2 => any::<Index>().prop_map(Kind::Link),
    ]
}

fn piece() -> impl Strategy<Value = Piece> {
    let gap = prop_oneof![3 => Just(0), 2 => (1..200_u64).prop_map(|n| n * 4096), 1 => 0..3_000_000_u64];
    // Around what is cut, gathered or reserved somewhere.
    let edge = select(vec![4096, 16384, 65536, 131_072, 262_144, 524_288, 1 << 20])
        .prop_flat_map(|len: u64| len - 1..=len + 1);
    let len = prop_oneof![4 => 1..5000_u64, 2 => 1..300_000_u64, 1 => edge];
    let filling = prop_oneof![
        6 => (0..40_u64).prop_map(Filling::Noise),
        2 => Just(Filling::Zeros),
        1 => Just(Filling::Reserved),
        1 => Just(Filling::Punched),
    ];
    (gap, len, filling).prop_map(|(gap, len, filling)| Piece { gap, len, filling })
}

fn time() -> impl Strategy<Value = (i64, u32)> {
    // What ext4 (to 2446) and XFS (from 1901) both hold.
    let seconds = prop_oneof![
        2 => 0..2_000_000_000_i64,
        1 => -2_000_000_000..0_i64,
        1 => (1_i64 << 31)..15_000_000_000,
        1 => select(vec![-1, 0, 1 - (1_i64 << 31), (1 << 31) - 1, 1 << 31, 1 << 32]),
    ];
    (seconds, prop_oneof![Just(0), Just(999_999_999), 0..1_000_000_000_u32])
}

fn id() -> impl Strategy<Value = u32> {
    prop_oneof![3 => Just(0), 3 => 1..70_000_u32, 1 => 0..u32::MAX - 1]
}

fn meta() -> impl Strategy<Value = Meta> {
    let mode = prop_oneof![3 => select(vec![0o644, 0o755, 0o600]), 2 => 0..0o10000_u32];
    let flag = prop_oneof![
        12 => Just(None),
        1 => Just(Some("+i")),
        1 => Just(Some("+a")),
        1 => Just(Some("+dA")),
        1 => Just(Some("+S"))
    ];
    let rest = (vec(attribute(), 0..4), proptest::option::weighted(0.2, acl()), capability(), flag);
    (mode, (id(), id()), time(), rest).prop_map(|(mode, owner, time, rest)| {
        let (attributes, acl, capability, flag) = rest;
        Meta { mode, owner, time, attributes, acl, capability, flag }
    })
}

/// Together with an ACL they have to fit into the one block that ext4 gives them.
fn attribute() -> impl Strategy<Value = (String, Vec<u8>)> {
    let space = select(vec!["user.", "user.", "trusted.", "security.", "trusted.overlay."]);
    let value = prop_oneof![3 => vec(any::<u8>(), 0..40), 1 => vec(any::<u8>(), 0..700)];
    (space, "[a-zA-Z0-9._=-]{1,40}", value)
        .prop_filter("the kernel reads these itself", |(_, name, _)| {
            !["capability", "ima", "evm"].contains(&name.as_str())
        })
        .prop_map(|(space, name, value)| (format!("{space}{name}"), value))
}

fn acl() -> impl Strategy<Value = String> {
    let entry = (any::<bool>(), id(), 0..8_u32).prop_map(|(user, id, bits)| {
        let word = |bit, letter| if bits & bit == 0 { '-' } else { letter };
        let kind = if user { 'u' } else { 'g' };
        format!("{kind}:{id}:{}{}{}", word(4, 'r'), word(2, 'w'), word(1, 'x'))
    });
    (vec(entry, 1..5), any::<bool>()).prop_map(|(entries, mask)| {
        let mask = if mask { ",m::r-x" } else { "" };
        format!("{}{mask}", entries.join(","))
    })
}

/// `struct vfs_cap_data` of revision 2, and of revision 3 with the root of a name space.
fn capability() -> impl Strategy<Value = Option<Vec<u8>>> {
    let sets = (any::<bool>(), 0..u32::MAX, 0..u32::MAX, proptest::option::of(1..u32::MAX));
    let value = sets.prop_map(|(effective, permitted, inheritable, root)| {
        let revision: u32 = if root.is_some() { 0x0300_0000 } else { 0x0200_0000 };
        let words = [revision | u32::from(effective), permitted, inheritable, 0x3, 0x1];
        words.into_iter().chain(root).flat_map(u32::to_le_bytes).collect()
    });
    proptest::option::weighted(0.1, value)
}

fn edit() -> impl Strategy<Value = Edit> {
    let change = prop_oneof![
        3 => (any::<Index>(), 100..200_u64).prop_map(|(at, seed)| Change::Hidden { at, seed }),
        1 => (1..200_000_u64).prop_map(Change::Append),
        1 => any::<Index>().prop_map(Change::Truncate),
        2 => name().prop_map(Change::Rename),
        1 => Just(Change::Remove),
        1 => (0..0o10000_u32).prop_map(Change::Mode),
        1 => time().prop_map(Change::Time),
    ];
    (any::<Index>(), change).prop_map(|(item, change)| Edit { item, change })
}
