//! sysclone image boot-files: a captured kernel becomes one that machines are booted with from the network.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use sysclone_exec::{Command, Runner as _, System};

use super::args::ImageBootFiles;
use super::content::Opened;
use crate::boot::image_folder;
use crate::cli::client::Client;
use crate::cli::console::{Console, Exit};

/// Stands beside this program.
const BUILDER: &str = "sysclone-image-builder";

/// Takes the kernel out of the image and has the image builder make the initrd for it.
pub(super) async fn make(args: &ImageBootFiles, console: &mut Console) -> anyhow::Result<Exit> {
    let opened = Opened::fetch(&Client::new(&args.common.socket), &args.image).await?;
    let parts = parts(&opened, args.kernel.as_deref())?;
    let builder = std::env::current_exe().context("finding this program")?.with_file_name(BUILDER);
    if !builder.is_file() {
        bail!("{} is missing: install it beside this program", builder.display());
    }
    let work = tempfile::Builder::new().prefix("sysclone-boot-files-").tempdir_in("/var/tmp");
    let work = work.context("making a folder in /var/tmp")?;
    let release = &parts.release;
    console.note(&format!("kernel {release} of {}\n", opened.manifest.image_ref()))?;
    let (boot, modules) = (work.path().join("boot"), work.path().join("modules").join(release));
    opened.write_part(&parts.kernel, &boot)?;
    opened.write_part(&parts.modules, &modules)?;
    let name = opened.manifest.header.image.clone();
    let mut build = Command::of_file(&builder)
        .args([
            "other-kernel",
            "--arch",
            &opened.manifest.header.arch,
            "--name",
            &image_folder(name.as_str()),
        ])
        .arg("--out")
        .arg(&opened.boot_dir)
        .arg("--kernel")
        .arg(boot.join(file_name(&parts.kernel)))
        .arg("--modules")
        .arg(&modules);
    if let Some(config) = &parts.config {
        opened.write_part(config, &work.path().join("config"))?;
        build = build.arg("--config").arg(work.path().join("config").join(file_name(config)));
    }
    if let Some(firmware) = &parts.firmware {
        opened.write_part(firmware, &work.path().join("firmware"))?;
        build = build.arg("--firmware").arg(work.path().join("firmware"));
    }
    for module in &args.modules {
        build = build.args(["--module", module]);
    }
    let made = System.run(&build).context("making the initrd")?;
    console.note(&made.text())?;
    console.line(&format!(
        "{name}: boot files made of {release}; chdef -t osimage -o {name} bootkernel=golden boots with them"
    ))?;
    Ok(Exit::Done)
}

/// What an image holds of a kernel, by path.
struct Parts {
    release: String,
    kernel: String,
    modules: String,
    config: Option<String>,
    firmware: Option<String>,
}

fn parts(opened: &Opened, wanted: Option<&str>) -> anyhow::Result<Parts> {
    let known = &opened.manifest.boot.kernels;
    let file = match wanted {
        Some(release) => known.iter().find(|name| release_of(name) == Some(release)),
        None => known.iter().find(|name| release_of(name).is_some()),
    };
    let Some(file) = file else {
        let wanted = wanted.unwrap_or("with a release in its name");
        bail!(
            "{} has no kernel {wanted} in /boot; it has: {}",
            opened.manifest.image_ref(),
            known.join(", ")
        );
    };
    let release = release_of(file).unwrap_or_default().to_owned();
    let has = |path: &String| opened.find(path).is_ok();
    let first = |paths: [String; 2]| paths.into_iter().find(has);
    let modules = first([format!("/usr/lib/modules/{release}"), format!("/lib/modules/{release}")]);
    Ok(Parts {
        kernel: format!("/boot/{file}"),
        modules: modules.with_context(|| format!("the image has no modules of kernel {release}"))?,
        config: Some(format!("/boot/config-{release}")).filter(has),
        firmware: first(["/usr/lib/firmware".to_owned(), "/lib/firmware".to_owned()]),
        release,
    })
}

/// `vmlinuz-6.1.0-35-amd64`, `vmlinux-3.0.101-ppc64`.
fn release_of(file: &str) -> Option<&str> {
    let release = file.strip_prefix("vmlinuz-").or_else(|| file.strip_prefix("vmlinux-"))?;
    (!release.is_empty()).then_some(release)
}

fn file_name(path: &str) -> PathBuf {
    Path::new(path).file_name().map(PathBuf::from).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_known_by_its_file() {
        for (file, release) in [
            ("vmlinuz-6.1.0-35-amd64", Some("6.1.0-35-amd64")),
            ("vmlinux-3.0.101-63-ppc64", Some("3.0.101-63-ppc64")),
            ("vmlinuz", None),
            ("initrd.img-6.1.0", None),
        ] {
            assert_eq!(release_of(file), release, "{file}");
        }
    }
}
