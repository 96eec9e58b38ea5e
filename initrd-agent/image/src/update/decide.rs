//! Decides path by path what is done.

use std::os::fd::AsFd as _;

use hashbrown::{HashMap, HashSet};
use rustix::fs::FileType;
use sysclone_protocol::update::{ChangeKind, KeptPath, PlannedChange, Why};

use super::error::{UpdateError, call};
use super::ids::same_meta;
use super::job::Preview;
use super::judge::{Verdict, judge};
use super::look::tree_paths;
use super::plan::{Act, Planned, Step};
use super::side::Side;
use crate::entry::{Entry, EntryKind, display, split};
use crate::inode::Status;
use crate::tree::Directories;
use crate::walk::{Node, is_gone, names_in};

/// Steps in their order, directories that they touch, and what people are told of it.
type Decided = (Vec<Step>, Vec<Vec<u8>>, Preview);

/// Decides what is done with each path.
pub(super) fn decide(planned: &Planned<'_>) -> Result<Decided, UpdateError> {
    let Decider { steps, touched, mut changes, mut kept, local, .. } = Decider::new(planned).run()?;
    changes.sort_by(|a, b| a.path.cmp(&b.path));
    kept.sort_by(|a, b| a.path.cmp(&b.path));
    Ok((steps, touched, Preview { changes, kept, local, ..Preview::default() }))
}

/// How each name of the wanted generation is here, by its entry; none for names that nodes do not follow.
type Verdicts = Vec<Option<Verdict>>;

/// Decides path by path.
struct Decider<'p, 'a> {
    planned: &'p Planned<'a>,
    /// Below these nothing is done.
    blocked: HashSet<Vec<u8>>,
    /// Names that were looked at, by directory.
    counts: HashMap<&'p [u8], usize>,
    steps: Vec<Step>,
    touched: Vec<Vec<u8>>,
    changes: Vec<PlannedChange>,
    kept: Vec<KeptPath>,
    local: u64,
}

/// Steps by the order in which they are done.
#[derive(Default)]
struct Sorted {
    directories: Vec<Step>,
    puts: Vec<Step>,
    late: Vec<Step>,
    removes: Vec<Step>,
    metas: Vec<Step>,
}

impl<'p, 'a> Decider<'p, 'a> {
    fn new(planned: &'p Planned<'a>) -> Self {
        let mut counts = HashMap::new();
        let parents = planned.look.nodes.iter().filter_map(|node| Some(split(&node.path)?.0));
        // The names of a directory stand together.
        let parents: Vec<&[u8]> = parents.collect();
        for names in parents.chunk_by(|a, b| a == b) {
            *counts.entry(names[0]).or_default() += names.len();
        }
        Self {
            planned,
            blocked: HashSet::new(),
            counts,
            steps: Vec::new(),
            touched: Vec::new(),
            changes: Vec::new(),
            kept: Vec::new(),
            local: 0,
        }
    }

    fn run(mut self) -> Result<Self, UpdateError> {
        let look = &self.planned.look;
        let mut verdicts = self.verdicts();
        let removed = self.removed()?;
        self.block(&verdicts, &removed)?;
        self.spread_over_links(&mut verdicts);
        let mut sorted = Sorted::default();
        let mut swallowed: HashSet<usize> = HashSet::new();
        for &index in &self.planned.wanted.names {
            let entry = &self.planned.wanted.manifest.entries[index];
            let Some(verdict) = verdicts[index] else { continue };
            if verdict == Verdict::Same || self.is_blocked(&entry.path) {
                continue;
            }
            let planned = self.put(index, verdict, &mut sorted);
            if planned && verdict == Verdict::Type && look.at(&entry.path).is_some_and(|(_, n)| n.listed) {
                swallowed.extend(self.below(&entry.path));
            }
        }
        self.make_missing(&mut sorted);
        self.remove(&removed, &swallowed, &mut sorted);
        self.find_renames();
        self.find_touched(&sorted);
        let Sorted { directories, puts, late, removes, metas } = sorted;
        self.steps = [directories, puts, late, removes, metas].concat();
        Ok(self)
    }

    fn verdicts(&self) -> Verdicts {
        let Planned { wanted, look, .. } = self.planned;
        let mut verdicts = vec![None; wanted.manifest.entries.len()];
        for &index in &wanted.names {
            let path = &wanted.manifest.entries[index].path;
            verdicts[index] = Some(judge(look, path, (wanted, wanted.described(index))));
        }
        verdicts
    }

    /// Names of the machine that the wanted generation does not have and that are to go, by node. A directory goes
    /// only when all in it does.
    fn removed(&mut self) -> Result<HashSet<usize>, UpdateError> {
        let Planned { wanted, base, look, job, root, .. } = self.planned;
        let mut removed = HashSet::new();
        let mut going_in: HashMap<&[u8], usize> = HashMap::new();
        let mut directories = Directories::new(root.as_fd());
        // Deepest first: a directory comes before what is in it.
        for (index, node) in look.nodes.iter().enumerate().rev() {
            let path = &node.path[..];
            if wanted.by_path.contains_key(path) {
                continue;
            }
            let known = base.as_ref().is_some_and(|base| base.by_path.contains_key(path))
                || job.held_before.contains(path);
            let there = self.counts.get(path).copied().unwrap_or_default();
            let going = going_in.get(path).copied().unwrap_or_default();
            let is_directory = node.status.file_type() == FileType::Directory;
            let mut goes = known || job.delete_local;
            if goes && is_directory {
                goes = node.listed && there == going && count_names(&mut directories, path)? == there;
            }
            if goes {
                removed.insert(index);
            } else if !known {
                self.local += 1;
            }
            if let Some((parent, _)) = split(path)
                && goes
            {
                *going_in.entry(parent).or_default() += 1;
            }
        }
        Ok(removed)
    }

    /// Finds places where nothing can be done: something else is mounted there, or a directory with names that stay
    /// is in the way of something else.
    fn block(&mut self, verdicts: &Verdicts, removed: &HashSet<usize>) -> Result<(), UpdateError> {
        let Planned { wanted, look, root, .. } = self.planned;
        let mut directories = Directories::new(root.as_fd());
        for &index in &wanted.names {
            let path = &wanted.manifest.entries[index].path[..];
            let Some(verdict) = verdicts[index] else { continue };
            let stays = match verdict {
                Verdict::Foreign => {
                    let own = |name: &&[u8]| look.has(name);
                    let has_content = wanted.by_path.keys().any(|p| is_below(p, path)) && own(&path);
                    self.blocked.insert(path.to_vec());
                    has_content.then_some("something else is mounted there")
                }
                Verdict::Type => {
                    let below = self.below(path);
                    let (_, node) = look.at(path).expect("what has another type is there");
                    let mut stay = below.iter().any(|index| !removed.contains(index));
                    for listed in below.iter().map(|index| &look.nodes[*index]).chain([node]) {
                        stay |= listed.listed && self.has_hidden(&mut directories, listed)?;
                    }
                    let is_mounted = node.status.file_type() == FileType::Directory && !node.listed;
                    if stay || is_mounted {
                        self.blocked.insert(path.to_vec());
                    }
                    stay.then_some("a directory is in its way, and what is in it stays")
                }
                Verdict::Same | Verdict::Missing | Verdict::Metadata | Verdict::Content => None,
            };
            if let Some(reason) = stays {
                self.kept.push(KeptPath { path: display(path), reason: reason.to_owned() });
            }
        }
        Ok(())
    }

    /// Whether a directory has names that were not looked at, because a rule leaves them alone.
    fn has_hidden(&self, directories: &mut Directories<'_>, node: &Node) -> Result<bool, UpdateError> {
        let seen = self.counts.get(&node.path[..]).copied().unwrap_or_default();
        Ok(count_names(directories, &node.path)? != seen)
    }

    fn below(&self, directory: &[u8]) -> Vec<usize> {
        let nodes = self.planned.look.nodes.iter().enumerate();
        nodes.filter(|(_, node)| is_below(&node.path, directory)).map(|(index, _)| index).collect()
    }

    fn is_blocked(&self, path: &[u8]) -> bool {
        !self.blocked.is_empty()
            && (self.blocked.contains(path)
                || path
                    .iter()
                    .enumerate()
                    .any(|(at, byte)| *byte == b'/' && self.blocked.contains(&path[..at])))
    }

    /// Names of one inode are put into place together, when any of them is, or when they are not one here.
    fn spread_over_links(&self, verdicts: &mut Verdicts) {
        let Planned { wanted, look, .. } = self.planned;
        let linked = wanted.names.iter().map(|index| (*index, wanted.inode(*index)));
        let linked: HashSet<usize> =
            linked.filter(|(index, inode)| index != inode).map(|(_, inode)| inode).collect();
        let mut groups: HashMap<usize, Vec<usize>> = HashMap::new();
        // The wanted inodes that an inode of the machine is, when it has several names.
        let mut uses: HashMap<(u64, u64), HashSet<usize>> = HashMap::new();
        for &index in &wanted.names {
            let (inode, entry) = (wanted.inode(index), wanted.described(index));
            if entry.kind == EntryKind::Directory {
                continue;
            }
            let node = look.at(&wanted.manifest.entries[index].path).map(|(_, node)| node);
            let several = node.filter(|node| node.status.links > 1);
            if several.is_some() || linked.contains(&inode) {
                groups.entry(inode).or_default().push(index);
            }
            if let Some(node) = several {
                uses.entry((node.status.device, node.status.inode)).or_default().insert(inode);
            }
        }
        for members in groups.into_values() {
            let path = |index: &usize| &wanted.manifest.entries[*index].path[..];
            let live =
                |index: &usize| look.at(path(index)).map(|(_, node)| (node.status.device, node.status.inode));
            let first = members.first().and_then(live);
            let together = members.iter().all(|index| live(index) == first);
            let shared = members
                .iter()
                .filter_map(live)
                .any(|inode| uses.get(&inode).is_some_and(|wanted| wanted.len() > 1));
            let is_replaced =
                |verdict| matches!(verdict, Verdict::Missing | Verdict::Content | Verdict::Type);
            let replaced = members.iter().any(|index| verdicts[*index].is_some_and(is_replaced));
            if !together || shared || replaced && members.len() > 1 {
                for index in members {
                    let verdict = verdicts[index].get_or_insert(Verdict::Missing);
                    if matches!(verdict, Verdict::Same | Verdict::Metadata) {
                        *verdict = Verdict::Content;
                    }
                }
            }
        }
    }

    fn why(&self, path: &[u8]) -> Why {
        let Planned { wanted, base, look, .. } = self.planned;
        let Some(base) = base else { return Why::Unknown };
        let (old, new) = (base.at(path), wanted.at(path));
        let here = match old {
            Some(entry) => judge(look, path, (base, entry)) != Verdict::Same,
            None => look.at(path).is_some(),
        };
        match (here, differs((base, old), (wanted, new))) {
            (true, true) => Why::Both,
            (true, false) => Why::Node,
            (false, _) => Why::Golden,
        }
    }

    /// Whether a path stays as it is on the machine, and why.
    fn stays(&self, path: &[u8], why: Why) -> Option<String> {
        let job = &self.planned.job;
        let changed_here = matches!(why, Why::Node | Why::Both);
        if why == Why::Node && job.special.made_here.matches(path, false) {
            return Some("made from this machine's hardware".to_owned());
        }
        (changed_here && job.keep_local).then(|| "changed on this node".to_owned())
    }

    /// Plans what the entry needs; answers whether it needs something and gets it.
    fn put(&mut self, index: usize, verdict: Verdict, sorted: &mut Sorted) -> bool {
        let Planned { wanted, look, job, .. } = self.planned;
        let entry = wanted.described(index);
        let path = &wanted.manifest.entries[index].path[..];
        let over = look.at(path).map(|(index, _)| index);
        let change = match verdict {
            Verdict::Same | Verdict::Foreign => return false,
            Verdict::Missing => ChangeKind::Create,
            Verdict::Metadata => ChangeKind::Metadata,
            Verdict::Content => ChangeKind::Content,
            Verdict::Type => ChangeKind::Type,
        };
        let why = self.why(path);
        if let Some(reason) = self.stays(path, why) {
            self.kept.push(KeptPath { path: display(path), reason });
            if verdict == Verdict::Type || verdict == Verdict::Missing {
                self.blocked.insert(path.to_vec());
            }
            return false;
        }
        let bytes = match &entry.kind {
            EntryKind::File(data) => data.size,
            _ => 0,
        };
        self.changes.push(PlannedChange { path: display(path), change, why, bytes, diff: None });
        let late = job.special.late.matches(path, false);
        let step = |act| Step { path: path.to_vec(), act, late };
        let in_place = matches!(entry.kind, EntryKind::Directory | EntryKind::File(_));
        match (verdict, over) {
            (Verdict::Metadata, Some(node)) if in_place => {
                // Once for all names of an inode.
                let first = wanted.inode(index) == index || !wanted.by_path.contains_key(&entry.path[..]);
                if first {
                    sorted.metas.push(step(Act::Meta { entry: wanted.inode(index), node }));
                }
            }
            (_, over) => {
                let step = step(Act::Put { entry: index, over });
                let kind = match late {
                    _ if entry.kind == EntryKind::Directory => &mut sorted.directories,
                    true => &mut sorted.late,
                    false => &mut sorted.puts,
                };
                kind.push(step);
            }
        }
        true
    }

    /// Directories that a rule leaves alone, and that are not there.
    fn make_missing(&mut self, sorted: &mut Sorted) {
        let Planned { wanted, look, root, .. } = self.planned;
        let mut directories = Directories::new(root.as_fd());
        let mut new: HashSet<&[u8]> = HashSet::new();
        for index in &wanted.made {
            let path = &wanted.manifest.entries[*index].path[..];
            let Some((parent, name)) = split(path) else { continue };
            let in_new = new.contains(parent);
            let missing = in_new
                || directories
                    .get(parent)
                    .is_ok_and(|parent| Status::at(parent, name).is_err_and(|e| is_gone(&e)));
            let parent_comes = look.has(parent) || in_new || missing;
            if missing && parent_comes && !self.is_blocked(path) {
                new.insert(path);
                let why = Why::Golden;
                let change = ChangeKind::Create;
                self.changes.push(PlannedChange { path: display(path), change, why, bytes: 0, diff: None });
                let act = Act::Put { entry: *index, over: None };
                sorted.directories.push(Step { path: path.to_vec(), act, late: false });
            }
        }
        sorted.directories.sort_by(|a, b| a.path.cmp(&b.path));
    }

    fn remove(&mut self, removed: &HashSet<usize>, swallowed: &HashSet<usize>, sorted: &mut Sorted) {
        let Planned { look, job, .. } = self.planned;
        // A directory of which something stays after all stays, too.
        let mut staying: HashSet<Vec<u8>> = HashSet::new();
        for (index, node) in look.nodes.iter().enumerate().rev() {
            let path = &node.path[..];
            if !removed.contains(&index) || self.is_blocked(path) {
                continue;
            }
            let why = self.why(path);
            let held = job.special.held.0.matches(path, node.listed).then(|| job.special.held.1.clone());
            let reason = if staying.contains(path) {
                Some("holds what stays".to_owned())
            } else {
                held.or_else(|| self.stays(path, why))
            };
            if let Some(reason) = reason {
                staying.extend(split(path).map(|(parent, _)| parent.to_vec()));
                self.kept.push(KeptPath { path: display(path), reason });
                continue;
            }
            let change = ChangeKind::Delete;
            self.changes.push(PlannedChange { path: display(path), change, why, bytes: 0, diff: None });
            if !swallowed.contains(&index) {
                let act = Act::Remove { node: index };
                sorted.removes.push(Step { path: path.to_vec(), act, late: false });
            }
        }
    }

    /// New names whose content goes away under another name.
    fn find_renames(&mut self) {
        let Planned { look, wanted, .. } = self.planned;
        let mut gone: HashMap<[u8; 16], String> = HashMap::new();
        for change in self.changes.iter().filter(|change| change.change == ChangeKind::Delete) {
            let path = change.path.trim_start_matches('/').as_bytes();
            let found = look.at(path).filter(|(_, node)| node.status.size > 0);
            let content = found.and_then(|(index, _)| look.read(index)?.content);
            gone.extend(content.map(|content| (content, change.path.clone())));
        }
        for change in self.changes.iter_mut().filter(|change| change.change == ChangeKind::Create) {
            let path = change.path.trim_start_matches('/').as_bytes();
            if let Some(data) = wanted.file(path)
                && let Some(from) = gone.remove(&wanted.content(data))
            {
                change.change = ChangeKind::Rename { from };
            }
        }
    }

    /// Directories whose time the golden client changed: as a rule because names in them changed that nodes do not
    /// follow. That alone is not worth a line in the plan.
    fn dated_anew(&self) -> Vec<Vec<u8>> {
        let Planned { wanted, base, look, .. } = self.planned;
        let Some(base) = base else { return Vec::new() };
        let directory = |entry: &&Entry| entry.kind == EntryKind::Directory;
        let dated = |(path, index): (&&[u8], &usize)| {
            let new = Some(wanted.described(*index)).filter(directory)?.meta.mtime;
            let old = base.at(path).filter(directory)?.meta.mtime;
            let (_, node) = look.at(path)?;
            (new != old && new != node.status.modified && !self.is_blocked(path)).then(|| path.to_vec())
        };
        wanted.by_path.iter().filter_map(dated).collect()
    }

    /// Directories in which names come, go, or are replaced, and the roots of file systems that they are on.
    fn find_touched(&mut self, sorted: &Sorted) {
        let Planned { look, job, .. } = self.planned;
        let all = [&sorted.directories, &sorted.puts, &sorted.late, &sorted.removes];
        let mut touched: HashSet<Vec<u8>> = HashSet::new();
        for step in all.into_iter().flatten() {
            touched.extend(split(&step.path).map(|(parent, _)| parent.to_vec()));
            if let Act::Put { entry, .. } = step.act
                && self.planned.wanted.manifest.entries[entry].kind == EntryKind::Directory
            {
                touched.insert(step.path.clone());
            }
        }
        touched.extend(self.dated_anew());
        if !touched.is_empty() || !sorted.metas.is_empty() {
            // The slots are names in them.
            touched.extend(tree_paths(job.mount_points));
            touched.insert(Vec::new());
        }
        let new: HashSet<&[u8]> = sorted.directories.iter().map(|step| &step.path[..]).collect();
        touched.retain(|path| new.contains(&path[..]) || look.at(path).is_some_and(|(_, node)| node.listed));
        // Deepest first.
        let mut touched: Vec<Vec<u8>> = touched.into_iter().collect();
        touched.sort_by(|a, b| b.cmp(a));
        self.touched = touched;
    }
}

fn is_below(path: &[u8], directory: &[u8]) -> bool {
    if directory.is_empty() {
        return !path.is_empty();
    }
    path.strip_prefix(directory).is_some_and(|rest| rest.starts_with(b"/"))
}

fn count_names(directories: &mut Directories<'_>, path: &[u8]) -> Result<usize, UpdateError> {
    let names = directories.get(path).and_then(names_in);
    Ok(names.map_err(call("listing", display(path)))?.len())
}

/// Whether two generations differ in a path.
fn differs(
    (old_side, old): (&Side<'_>, Option<&Entry>),
    (new_side, new): (&Side<'_>, Option<&Entry>),
) -> bool {
    let (old, new) = match (old, new) {
        (None, None) => return false,
        (Some(old), Some(new)) => (old, new),
        (Some(_), None) | (None, Some(_)) => return true,
    };
    let same = match (&old.kind, &new.kind) {
        (EntryKind::File(a), EntryKind::File(b)) => old_side.content(a) == new_side.content(b),
        (a, b) => a == b,
    };
    !same || !same_meta(&old.meta, &new.meta, new.kind == EntryKind::Directory)
}
