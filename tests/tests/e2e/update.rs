//! A clone that runs follows the golden client, goes back, and survives that its power is cut meanwhile.

use std::cell::RefCell;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sysclone_tests::cycle::{self, BOOT_LIMIT, IMAGE, TARGET};
use sysclone_tests::lab::{Bus, Disk, Machine, Network, Ssh};

use crate::world::World;

/// One update of some thousand files, emulated.
const UPDATE_LIMIT: Duration = Duration::from_secs(600);

/// What all swaps of the update take, emulated.
const SWAPPING: Duration = Duration::from_secs(6);

/// What is done on the golden client: a kernel under a new name that the boot menu names, GRUB's own files, privileges,
/// many files, a rename, a removal, and what is the machine's own.
const CHANGE: &str = r#"set -e
    old=$(basename /boot/vmlinuz-*) && release=${old#vmlinuz-}
    cp -a /boot/vmlinuz-$release /boot/vmlinuz-$release.new
    cp -a /boot/initrd.img-$release /boot/initrd.img-$release.new
    sed -i "s/vmlinuz-$release/&.new/; s/initrd.img-$release/&.new/" /boot/grub/grub.cfg
    touch /usr/lib/grub/i386-pc/kernel.img
    setcap cap_net_admin+ep /srv/awkward/capable
    mkdir /opt/many && for n in $(seq 3000); do echo "file $n" > /opt/many/$n; done
    mv /usr/share/common-licenses/GPL-2 /usr/share/common-licenses/GPL-second
    rm /usr/share/common-licenses/BSD
    echo golden > /etc/motd; echo golden > /etc/fstab.golden; rm -f /etc/fstab.golden
    echo only-golden >> /var/log/dpkg.log
    sync"#;

/// What is done on the clone.
const EDIT: &str = "set -e; echo mine > /etc/motd; echo mine > /etc/only-here; sync";

struct Clone<'w, 'net> {
    world: &'w World<'net>,
    machine: Machine,
    ssh: Ssh<'net>,
}

impl<'w, 'net> Clone<'w, 'net> {
    fn start(world: &'w World<'net>, log: &str) -> Result<Self> {
        let machine = switch_on(world, log)?;
        let ssh = cycle::target_ssh(world.network, &world.golden);
        ssh.wait_ready(&machine, BOOT_LIMIT)?;
        ssh.run("systemctl is-system-running --wait || true")?;
        Ok(Self { world, machine, ssh })
    }

    fn expect(&self, question: &str, expected: &str) -> Result<()> {
        let answer = self.ssh.run(question)?;
        ensure!(answer.trim() == expected, "{question}: {answer:?} is not {expected:?}");
        Ok(())
    }

    /// Compares with what the node is to have; reads every file.
    fn verify(&self) -> Result<()> {
        self.world.site.cli(&["verify", TARGET]).map(drop).context("verifying the clone")
    }
}

/// Lines that a verb says in JSON.
fn lines(world: &World<'_>, words: &[&str]) -> Result<Vec<Value>> {
    let said = RefCell::new(Vec::new());
    let say = |line: &str| said.borrow_mut().extend(serde_json::from_str::<Value>(line));
    world.site.cli_aloud(words, UPDATE_LIMIT, &say)?;
    Ok(said.into_inner())
}

fn plan(lines: &[Value]) -> Result<&Value> {
    let plan = lines.iter().find(|line| line["update"] == "plan").context("there is no plan")?;
    Ok(&plan["plan"])
}

fn recapture(world: &World<'_>) -> Result<()> {
    let logs = world.logs.join("golden-changed");
    std::fs::create_dir_all(&logs).context("creating the log folder")?;
    let (machine, ssh) = world.steps.run("booting node golden again", || {
        let disk = Disk::existing(&world.golden_disk(), Bus::Virtio);
        cycle::start_golden(world.network, &world.golden, disk, &logs)
    })?;
    world.steps.run("changing node golden", || ssh.run(CHANGE).map(drop))?;
    world.steps.run("capturing node golden again", || cycle::capture(&world.site, &world.steps))?;
    drop(ssh.run("systemctl poweroff"));
    machine.wait_exit(BOOT_LIMIT).map(drop)
}

/// The golden client changes, the running clone follows in everything but itself.
pub(crate) fn follows(world: &mut World<'_>) -> Result<()> {
    recapture(world)?;
    let world = &*world;
    let clone = Clone::start(world, "update")?;
    clone.ssh.run(EDIT)?;
    let own = "cat /etc/hostname /etc/machine-id /etc/fstab /etc/ssh/ssh_host_*.pub; systemctl show -p MainPID ssh cron";
    let before = clone.ssh.run(own)?;
    let dry = world
        .steps
        .run("planning the update", || lines(world, &["updatenode", TARGET, "-S", "--dry-run", "--json"]))?;
    let planned = plan(&dry)?;
    clone.expect("cat /etc/motd; ls /opt", "mine")?;
    let changes = planned["changes"].as_array().context("changes")?;
    let of = |path: &str| {
        changes.iter().find(|change| change["path"] == path).map(|change| change["change"]["kind"].clone())
    };
    for (path, kind) in [
        ("/etc/motd", "content"),
        ("/usr/share/common-licenses/GPL-second", "rename"),
        ("/usr/share/common-licenses/BSD", "delete"),
        ("/srv/awkward/capable", "metadata"),
        ("/opt/many", "create"),
    ] {
        ensure!(of(path).is_some_and(|found| found == kind), "{path}: {:?} is not {kind}", of(path));
    }
    for path in ["/etc/only-here", "/etc/hostname", "/var/log/dpkg.log", "/etc/fstab"] {
        ensure!(of(path).is_none(), "{path} is not the golden client's business");
    }
    let reasons = planned["reboot"].to_string();
    ensure!(reasons.contains(".new"), "no restart for a new kernel: {reasons}");
    let asked = format!("si_updateclient --server {} --dry-run --yes", Network::SERVER);
    let asked = world.site.cli(&["xdsh", TARGET, "-s", &asked])?;
    let answers = asked.contains("> /usr/share/common-licenses/GPL-second");
    ensure!(answers, "SystemImager's name has no answer: {asked}");
    let done = world
        .steps
        .run("updating the clone", || lines(world, &["updatenode", TARGET, "-S", "--yes", "--json"]))?;
    ensure!(plan(&done)?["digest"] == planned["digest"], "what was done is not what was shown");
    clone.expect(
        "cat /etc/motd /etc/only-here; ls /opt/many | wc -l; getcap /srv/awkward/capable; ls /usr/share/common-licenses/BSD 2>&1 | wc -l",
        "golden\nmine\n3000\n/srv/awkward/capable cap_net_admin=ep\n1",
    )?;
    let after = clone.ssh.run(own)?;
    ensure!(before == after, "the clone is not itself any more: {before} and {after}");
    world.steps.run("verifying the clone", || clone.verify())?;
    world.steps.run("rolling back", || {
        lines(world, &["updatenode", TARGET, "-S", "--rollback", "--yes", "--json"])
    })?;
    clone.expect(
        "cat /etc/motd; ls /opt; getcap /srv/awkward/capable",
        "mine\n/srv/awkward/capable cap_net_bind_service,cap_net_raw=ep",
    )?;
    let drift = RefCell::new(String::new());
    let say = |line: &str| drift.borrow_mut().push_str(line);
    let verified = world.site.cli_aloud(&["verify", TARGET], UPDATE_LIMIT, &say);
    let listed = verified.is_err() && drift.borrow().contains("/etc/motd");
    ensure!(listed, "what was changed by hand is not listed as drift: {}", drift.borrow());
    let cuts = std::env::var("SYSCLONE_CUTS").map_or(Ok(1), |n| n.parse()).context("SYSCLONE_CUTS")?;
    let clone = world.steps.run("cutting the power while files are swapped", || cuts_of(clone, cuts))?;
    lines(world, &["updatenode", TARGET, "-S", "--yes", "--json"])?;
    clone.verify()?;
    drop(clone.ssh.run("systemctl poweroff"));
    clone.machine.wait_exit(BOOT_LIMIT)?;
    let clone =
        world.steps.run("starting the clone with its new kernel", || Clone::start(world, "new-kernel"))?;
    clone.expect("grep -o 'vmlinuz[^ ]*new' /proc/cmdline | wc -l; cat /etc/motd", "1\ngolden")?;
    clone.verify()?;
    let shown = world.site.cli(&["nodestat", TARGET, "--drift"])?;
    ensure!(shown.contains(&format!("{IMAGE}@2")), "{shown}");
    drop(clone.ssh.run("systemctl poweroff"));
    clone.machine.wait_exit(BOOT_LIMIT).map(drop)
}

/// Cuts the power this often, each time at another moment of the same update. The start after it finishes the update.
fn cuts_of<'w, 'net>(mut clone: Clone<'w, 'net>, cuts: u32) -> Result<Clone<'w, 'net>> {
    for number in 0..cuts {
        if number > 0 {
            lines(clone.world, &["updatenode", TARGET, "-S", "--rollback", "--yes", "--json"])?;
            clone.expect("cat /etc/motd; ls /opt", "mine")?;
        }
        let after = SWAPPING * number / cuts;
        clone = cut(clone, after)?;
        clone.world.steps.say(&format!("  cut {} ms after the first swap", after.as_millis()));
        let unit = "sysclone-update-recover.service";
        let ask = format!("systemctl is-failed {unit}; journalctl -u {unit} -b -n 20 --no-pager");
        let recovered = clone.ssh.run(&ask)?;
        ensure!(recovered.starts_with("inactive"), "the start did not finish the update: {recovered}");
        clone.expect("test -e /opt/many && ls /opt/many | wc -l; cat /etc/motd", "3000\ngolden")?;
        // The server hears of it with the next update, which has nothing to do.
        let again = lines(clone.world, &["updatenode", TARGET, "-S", "--yes", "--json"])?;
        ensure!(
            plan(&again)?["changes"] == Value::Array(Vec::new()),
            "the start did not finish the update: {again:?}"
        );
        clone.verify()?;
    }
    Ok(clone)
}

/// Cuts the clone's power so long after its swaps began, and starts it again.
fn cut<'w, 'net>(clone: Clone<'w, 'net>, after: Duration) -> Result<Clone<'w, 'net>> {
    let Clone { world, machine, ssh } = clone;
    let (machine, again) = (RefCell::new(Some(machine)), RefCell::new(None));
    let say = |line: &str| {
        if line.contains("swapping")
            && let Some(machine) = machine.borrow_mut().take()
        {
            // The moment is the fault's, nothing waits for it.
            std::thread::sleep(after);
            *again.borrow_mut() = Some(machine.power_off().and_then(|()| switch_on(world, "after-cut")));
        }
    };
    let updated = world.site.cli_aloud(&["updatenode", TARGET, "-S", "--yes", "--json"], UPDATE_LIMIT, &say);
    let machine = again.into_inner().context("the power was not cut")??;
    ensure!(updated.is_err(), "an update was called done although the machine lost its power");
    ssh.wait_ready(&machine, BOOT_LIMIT)?;
    ssh.run("systemctl is-system-running --wait || true")?;
    Ok(Clone { world, machine, ssh })
}

fn switch_on(world: &World<'_>, log: &str) -> Result<Machine> {
    let logs = world.logs.join(log);
    std::fs::create_dir_all(&logs).context("creating the log folder")?;
    let disk = Disk::existing(&world.target_disk(), Bus::Nvme);
    cycle::target(vec![disk], &logs).start(world.network)
}
