"""Measures sysclone against its rivals on one tree: `cargo xtask bench`. Needs root; works in a network namespace of
its own, so that the bytes on loopback are ours alone."""

import argparse
import json
import os
import shutil
import sys

from cases import CASES, Bench
from measure import Failed, Volume, need, run
from servers import Site
from table import render
import tree

PROGRAMS = ["rsync", "casync", "zstd", "tar", "busybox", "mkfs.ext4", "ip", "unshare", "ipmi_sim", "ipmitool"]
IN_NAMESPACE = "SYSCLONE_BENCH_NAMESPACE"


def arguments():
    parser = argparse.ArgumentParser(prog="cargo xtask bench", description=__doc__)
    parser.add_argument("--programs", required=True, help="folder of the release build")
    parser.add_argument("--work", required=True, help="folder that is made and removed")
    parser.add_argument("--source", default="/usr", help="where most files are copied from (%(default)s)")
    parser.add_argument("--files", type=int, default=65_000, help="files of the tree (%(default)s)")
    parser.add_argument("--megabytes", type=int, default=1_800, help="size of the tree (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="medians of so many (%(default)s)")
    parser.add_argument("--only", action="append", choices=list(CASES), help="only these measurements")
    parser.add_argument("--memory", action="store_true", help="keep all files in memory: measures the programs")
    parser.add_argument("--cores", default="0,1", help="all runs on these processors (%(default)s)")
    return parser.parse_args()


def main():
    options = arguments()
    if not os.environ.get(IN_NAMESPACE):
        need(PROGRAMS)
        os.environ[IN_NAMESPACE] = "1"
        words = ["taskset", "-c", options.cores, "unshare", "--net", "--mount", "--propagation", "private"]
        os.execvp(words[0], [*words, sys.executable, *sys.argv])
    run("ip", "link", "set", "lo", "up")
    os.makedirs(options.work)
    if options.memory:
        run("mount", "-t", "tmpfs", "-o", "size=14G", "tmpfs", options.work)
    try:
        results = measure(options)
    finally:
        # The mounts in it are this namespace's; they end with it, and must not be reached into.
        run("sh", "-c", f"grep -o ' {options.work}[^ ]*' /proc/self/mounts | tac | xargs -r umount -l")
        shutil.rmtree(options.work)
    print(render(results))


def measure(options):
    state = Volume(options.work, "golden", size="12G")
    root = os.path.join(state.path, "tree")
    print("making the tree", flush=True)
    files, size = tree.make(root, options.source, options.files, options.megabytes * 1_000_000)
    server = Volume(options.work, "server", size="24G")
    site = Site(server.path, options.programs, root)
    results = {"files": files, "bytes": size, "rounds": options.rounds, "cores": options.cores, "memory": options.memory}
    try:
        bench = Bench(options.work, site, root, options.rounds)
        for name, case in CASES.items():
            if options.only and name not in options.only and name != "first capture":
                continue
            print(f"{name}:", flush=True)
            results[name] = case(bench)
            print(json.dumps({name: results[name]}), flush=True)
    finally:
        site.stop()
    return results


if __name__ == "__main__":
    try:
        main()
    except Failed as error:
        sys.exit(f"error: {error}")
