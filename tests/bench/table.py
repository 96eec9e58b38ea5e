"""The results as a table of ratios, each with its bar."""

import os


def render(results):
    """Markdown: the machine, the command, and one row for each bar that was measured."""
    lines = [
        "| what | ours | rival | ratio | bar | |",
        "|---|---|---|---|---|---|",
    ]
    for case, rows in ROWS.items():
        if case in results:
            lines += [row_text(*row) for row in rows(results[case], results)]
    return head(results) + "\n" + "\n".join(lines) + "\n"


def head(results):
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        model = next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), "unknown")
    return (
        f"Tree: {results['files']:,} files, {results['bytes'] / 1e6:,.0f} MB. Machine: {model}, processors "
        f"{results['cores']} for everything, Linux {os.uname().release}, file systems "
        f"{'in memory' if results['memory'] else 'on disk'}. Medians of {results['rounds']}.\n"
    )


def row_text(what, ours, rival, bar=None, unit="s"):
    """One row. `rival` is a name and its figure; `bar` is the ratio that is allowed."""
    name, figure = rival
    ratio = ours / figure if figure else float("inf") if ours else 0
    verdict = "" if bar is None else "met" if ratio <= bar else "**missed**"
    allowed = "" if bar is None else f"≤ {bar:.4g}"
    return f"| {what} | {number(ours, unit)} | {name} {number(figure, unit)} | {ratio:.3g} | {allowed} | {verdict} |"


def number(value, unit):
    return f"{value / 1e6:,.2f} MB" if unit == "B" else f"{value:,.2f} {unit}"


def first_capture(result, results):
    ours, rsync, tar = result["ours"], result["rsync"], result["tar"]
    return [
        ("first capture, wall", ours["wall"], ("rsync -aHAX", rsync["wall"]), 1.0),
        ("first capture, wall", ours["wall"], ("tar \\| zstd -3", tar["wall"])),
        ("first capture, bytes on the wire", ours["wire"], ("rsync", rsync["wire"]), None, "B"),
        ("size in the store", ours["store"], ("tar \\| zstd -3", tar["store"]), None, "B"),
        ("memory of a capture, peak", ours["peak"], ("limit", 256), 1.0, "MiB"),
    ]


def full_deploy(result, results):
    ours, rsync, copy = result["ours"], result["rsync"], result["cp"]
    return [
        ("full deploy, wall", ours["wall"], ("cp -a", copy["wall"]), 1.0),
        ("full deploy, wall", ours["wall"], ("rsync daemon", rsync["wall"]), 0.55),
        ("full deploy, server CPU", ours["cpu"], ("rsync daemon", rsync["cpu"]), 0.05),
        ("full deploy, bytes on the wire", ours["wire"], ("rsync daemon", rsync["wire"]), 0.4, "B"),
        ("memory of a deployment, peak", ours["peak"], ("limit", 256), 1.0, "MiB"),
    ]


def clients(result, results):
    rows = []
    for count, run in result.items():
        ours, rsync = run["ours"], run["rsync"]
        speed = {name: int(count) * results["bytes"] / 1e6 / run[name]["wall"] for name in ["ours", "rsync"]}
        clients_word = "1 client" if count == "1" else f"{count} clients"
        rows += [
            (f"{clients_word}, tree MB/s in all", speed["ours"], ("rsync", speed["rsync"]), None, "MB/s"),
            (f"{clients_word}, server CPU of each", ours["cpu_each"], ("rsync", rsync["cpu_each"])),
        ]
    return rows


def unchanged(result, results):
    return [("capture again, nothing changed, wall", result["ours"]["wall"], ("find -printf", result["find"]["wall"]), 2.0)]


def delta(result, results):
    capture, deploy = result["capture"], result["deploy"]
    ours = deploy["ours"]
    rows = [
        ("capture again, 1 % changed, bytes of new packs", capture["stored"], ("changed chunks", capture["packed"]), 1.1, "B"),
        ("same, all bytes on the wire", capture["wire"], ("changed chunks", capture["packed"]), None, "B"),
        ("same, wall", capture["wall"], ("first capture", results["first capture"]["ours"]["wall"])),
    ]
    for rival in ["rsync", "casync"]:
        theirs = deploy[rival]
        rows += [
            ("one generation behind, wall", ours["wall"], (rival, theirs["wall"]), 0.5 if rival == "rsync" else None),
            ("one generation behind, server CPU", ours["cpu"], (rival, theirs["cpu"])),
            ("one generation behind, bytes", ours["wire"], (rival, theirs["wire"]), None, "B"),
        ]
    first, rsync = deploy["first"], deploy["rsync"]
    rows += [
        ("one generation behind, bytes", ours["wire"], ("changed chunks", capture["packed"]), 1.1, "B"),
        ("one generation behind, nothing read before, wall", first["wall"], ("rsync", rsync["wall"])),
        ("update again, nothing changed, wall", ours["again"], ("rsync", rsync["again"]), 0.25),
        ("update again, nothing changed, server CPU", ours["again_cpu"], ("rsync", rsync["again_cpu"]), 0.05),
    ]
    return rows


def altered(what, allowed):
    def rows(result, results):
        return [
            (f"{what}: data sent", result["stored"], ("limit", allowed), 1.0, "B"),
            (f"{what}: all bytes on the wire", result["wire"], ("whole tree", results["bytes"]), None, "B"),
        ]

    return rows


def administration(result, results):
    return [
        ("10,000 nodes read from a stanza file", result["import"], ("limit", 10)),
        ("lsdef -l of 10,000 nodes", result["lsdef"], ("limit", 0.5), 1.0),
        ("nodeset osimage of 2,500 nodes", result["nodeset"], ("limit", 1), 1.0),
        ("noderange of 10,000 names", result["noderange"] * 1000, ("limit", 50), 1.0, "ms"),
        ("rpower stat of 1,000 BMCs (20 ipmi_sim), 64 at a time", result["rpower"], ("limit", 60)),
    ]


ROWS = {
    "first capture": first_capture,
    "full deploy": full_deploy,
    "clients": clients,
    "unchanged": unchanged,
    "delta": delta,
    "administration": administration,
    "rename": altered("a directory renamed", 0),
    "4 KiB": altered("4 KiB changed in 100 MB", 512 << 10),
}
