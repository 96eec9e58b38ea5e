"""What is measured, one function for each bar. Ours and the rivals take turns, and the order changes every round."""

import json
import os
import shutil
import subprocess

import tree
from administration import administration
from measure import Failed, Run, Volume, medians, run
from servers import ADDRESS, RSYNC_PORT, WEB_PORT, peak

RSYNC = ["rsync", "-aHAX", "--numeric-ids"]
RSYNC_URL = f"rsync://{ADDRESS}:{RSYNC_PORT}/tree/"


class Bench:
    """The tree, the servers, and how often everything is done."""

    def __init__(self, folder, site, root, rounds):
        self.folder, self.site, self.root, self.rounds = folder, site, root, rounds
        self.results = {}

    def volume(self, name, content=None):
        return Volume(self.folder, name, content=content)

    def turns(self, rivals, rounds=None):
        """Runs each of `rivals` in every round; answers their medians."""
        runs, names = {name: [] for name in rivals}, list(rivals)
        for turn in range(rounds or self.rounds):
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                figures = rivals[name](turn)
                print(f"  {name}: " + ", ".join(f"{key} {value:.2f}" for key, value in figures.items()), flush=True)
                runs[name].append(figures)
        return {name: medians(figures) for name, figures in runs.items()}

    def worker(self, *words):
        """Runs our worker; answers what it says and its peak of memory."""
        argv = [self.site.worker, *words]
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, text=True)
        if done.returncode:
            raise Failed(f"{argv}: {done.stderr[-2000:]}")
        return json.loads(done.stdout), peak(done.stderr)

    def capture(self, image):
        with Run(self.site.server) as measured:
            memory = self.site.capture(image)
        return measured.figures(peak=memory)


def first_capture(bench):
    """First capture of a tree, the golden client's to the server's disk."""

    def ours(turn):
        return bench.capture(f"first{turn}")

    def rsync(_turn):
        with bench.volume("pulled") as volume:
            with Run(bench.site.rsyncd) as measured:
                run(*RSYNC, RSYNC_URL, volume.path + "/")
                volume.settle()
            return measured.figures()

    def tar(_turn):
        with bench.volume("packed") as volume:
            archive = os.path.join(volume.path, "tree.tar.zst")
            with Run() as measured:
                command = f"tar -C '{bench.root}' --xattrs --acls -cf - . | zstd -q -3 -T2 -o '{archive}'"
                run("sh", "-c", command)
                volume.settle()
            return measured.figures(store=os.path.getsize(archive))

    result = bench.turns({"ours": ours, "rsync": rsync, "tar": tar})
    folder, manifest = bench.site.access("first0")
    packs, _ = bench.worker("size", folder)
    result["ours"]["store"] = packs["stored"] + manifest
    return result


def full_deploy(bench):
    """All of the tree to a fresh ext4."""
    folder, manifest = bench.site.access("first0")

    def ours(turn):
        with bench.volume("ours") as volume:
            with Run(bench.site.server) as measured:
                _, memory = bench.worker("deploy", folder, volume.path)
                volume.settle()
            if turn == 0:
                check_equal(bench.root, volume.path)
            measured.bytes += manifest
            return measured.figures(peak=memory)

    def copied(command, server):
        def measure(_turn):
            with bench.volume("theirs") as volume:
                with Run(server) as measured:
                    run(*command, volume.path + "/")
                    volume.settle()
                return measured.figures()

        return measure

    rivals = {
        "ours": ours,
        "cp": copied(["cp", "-a", bench.root + "/."], None),
        "rsync": copied([*RSYNC, RSYNC_URL], bench.site.rsyncd),
    }
    return bench.turns(rivals)


def check_equal(before, after):
    """rsync finds no difference, whole files compared."""
    words = ["-aHAXn", "--numeric-ids", "--checksum", "--delete", "--itemize-changes", "--exclude=/lost+found", "--exclude=/.sysclone-update"]
    difference = run("rsync", *words, before + "/", after + "/")
    if difference:
        raise Failed(f"the clone differs:\n{difference[:2000]}")


def clients(bench):
    """One, four and sixteen clients that write nothing."""
    folder, _ = bench.site.access("first0")
    batch = os.path.join(bench.folder, "batch")
    nothing = os.path.join(bench.folder, "nothing")
    os.makedirs(nothing, exist_ok=True)
    if not os.path.islink(batch):
        os.symlink("/dev/null", batch)
    rsync = [*RSYNC, f"--only-write-batch={batch}", RSYNC_URL, nothing + "/"]

    def many(number, argv, server):
        def measure(_turn):
            with Run(server) as measured:
                running = [subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(number)]
                if any([process.wait() for process in running]):
                    raise Failed(f"{argv}: one of {number} failed")
            return {**measured.figures(), "cpu_each": measured.cpu / number}

        return measure

    results = {}
    for number in [1, 4, 16]:
        rivals = {
            "ours": many(number, [bench.site.worker, "fetch", folder], bench.site.server),
            "rsync": many(number, rsync, bench.site.rsyncd),
        }
        # Many clients are a median already, and rsync takes minutes for them.
        results[str(number)] = bench.turns(rivals, 1 if number > 4 else None)
    return results


def unchanged(bench):
    """Capture again when nothing has changed."""

    def find(_turn):
        with Run() as measured:
            run("sh", "-c", f"find '{bench.root}' -printf '%p %i %s %T@ %C@ %m %U %G\\n' > /dev/null")
        return measured.figures()

    return bench.turns({"ours": lambda _turn: bench.capture("first0"), "find": find})


def recapture(bench, what, alter):
    """Alters the tree and captures it; tells what was new and what was sent."""
    before, _ = bench.site.access("first0")
    changed = alter(bench.root)
    figures = bench.capture("first0")
    after, manifest = bench.site.access("first0")
    compared, _ = bench.worker("compare", before, after)
    print(f"  {what}: {figures} {compared}", flush=True)
    return {**figures, **compared, "manifest": manifest, "changed": changed or 0}


def delta(bench):
    """One hundredth of the files changed: capture again, and bring a client of the generation before up to date."""
    before, _ = bench.site.access("first0")
    volume = bench.volume("before")
    bench.worker("deploy", before, volume.path)
    # What a clone knows after its first dry run. Copies of the volume have the same inodes.
    known = os.path.join(bench.folder, "known")
    os.makedirs(known)
    bench.worker("update", before, before, volume.path, known)
    volume.unmount()
    content = volume.file
    web = Casync(bench)
    web.make("before")
    result = {"capture": recapture(bench, "1 %", tree.change)}
    web.make("after")
    after, _ = bench.site.access("first0")

    def updated(turn, state):
        with bench.volume("ours", content) as volume:
            with Run(bench.site.server) as measured:
                said, _ = bench.worker("update", before, after, volume.path, state)
                volume.settle()
            if turn == 0:
                check_equal(bench.root, volume.path)
            measured.bytes += said["manifest"]
            with Run(bench.site.server) as again:
                bench.worker("update", after, after, volume.path, state)
            return {**measured.figures(), "again": again.wall, "again_cpu": again.cpu}

    def ours(turn):
        state = os.path.join(bench.folder, f"state{turn}")
        shutil.copytree(known, state)
        return updated(turn, state)

    def first(turn):
        state = os.path.join(bench.folder, f"first{turn}")
        os.makedirs(state)
        return updated(turn, state)

    def rsync(_turn):
        with bench.volume("theirs", content) as volume:
            with Run(bench.site.rsyncd) as measured:
                run(*RSYNC, "--delete", "--exclude=/lost+found", RSYNC_URL, volume.path + "/")
                volume.settle()
            with Run(bench.site.rsyncd) as again:
                run(*RSYNC, "--delete", "--exclude=/lost+found", RSYNC_URL, volume.path + "/")
            return {**measured.figures(), "again": again.wall, "again_cpu": again.cpu}

    result["deploy"] = bench.turns({"ours": ours, "first": first, "rsync": rsync})
    with bench.volume("theirs", content) as volume:
        result["deploy"]["casync"] = web.extract("after", volume)
    os.unlink(content)
    return result


class Casync:
    """casync with a chunk store that a web server serves. It is slow, so it is measured once."""

    def __init__(self, bench):
        self.root, self.folder = bench.root, os.path.join(bench.folder, "casync")
        os.makedirs(self.folder)
        self.server = bench.site.start_web(self.folder)

    def make(self, name):
        index = os.path.join(self.folder, name + ".caidx")
        run("casync", "make", "--store=" + os.path.join(self.folder, "store.castr"), index, self.root)

    def extract(self, name, volume):
        url = f"http://{ADDRESS}:{WEB_PORT}"
        with Run(self.server) as measured:
            run("casync", "extract", f"--store={url}/store.castr", f"{url}/{name}.caidx", volume.path)
            volume.settle()
        print(f"  casync: {measured.figures()}", flush=True)
        return measured.figures()


CASES = {
    "first capture": first_capture,
    "full deploy": full_deploy,
    "clients": clients,
    "unchanged": unchanged,
    "delta": delta,
    "rename": lambda bench: recapture(bench, "rename", tree.rename),
    "administration": administration,
    "4 KiB": lambda bench: recapture(bench, "4 KiB", tree.poke),
}
