//! Base images, or stand-ins for them, and our own two images.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use millrace_harness::workspace_root;
use tokio::process::Command;

use super::{
    docker::{logged, output_of},
    engine::Engine,
};
use crate::show;

/// The tag of the images that are proved.
pub(super) const TAG: &str = "proof";
/// As the stand-in for the Rust image knows it.
const TOOLCHAIN: &str = "millrace-toolchain:stand-in";
const MIRROR: &str = "http://deb.debian.org/debian";
const FILES: [&str; 3] = ["Dockerfile.api", "Dockerfile.worker", "docker-compose.yml"];
/// Speed is not what is proved here, and the builder has little of it.
const QUICK_BUILD: [&str; 4] = ["LTO=off", "OPT_LEVEL=1", "CODEGEN_UNITS=16", "DEBUG=false"];

pub(super) struct Images<'a> {
    engine: &'a Engine,
    run: &'a Path,
    /// What an engine of somebody else's did not have before.
    made: Vec<String>,
}

impl<'a> Images<'a> {
    pub(super) fn new(engine: &'a Engine, run: &'a Path) -> Self {
        Self { engine, run, made: Vec::new() }
    }

    /// Makes stand-ins for the base images that the engine does not have.
    pub(super) async fn prepare(&mut self) -> Result<()> {
        let debian = Base::named("debian")?;
        if !self.has(&debian.name).await {
            self.debootstrap(&debian).await?;
        }
        for image in ["rust", "postgres", "redis"] {
            let base = Base::named(image)?;
            if !self.has(&base.name).await {
                self.stand_in(&base, &debian).await?;
            }
        }
        Ok(())
    }

    /// Builds our two images.
    pub(super) async fn build(&mut self) -> Result<()> {
        for name in ["api", "worker"] {
            let began = Instant::now();
            let image = format!("millrace-{name}:{TAG}");
            let mut arguments = vec!["--file".to_owned(), format!("Dockerfile.{name}")];
            for setting in QUICK_BUILD {
                arguments.extend(["--build-arg".to_owned(), format!("CARGO_PROFILE_RELEASE_{setting}")]);
            }
            println!("  building {image} …");
            self.docker_build(&image, &arguments, workspace_root()).await?;
            show::done(&format!("built {image} in {}", show::duration(began.elapsed())));
        }
        Ok(())
    }

    /// Removes the images that were made in an engine of somebody else's; its builder's cache is its own matter. A private
    /// one keeps all of it for the next run.
    pub(super) async fn remove(self) -> Result<()> {
        if self.engine.is_private() {
            return Ok(());
        }
        for image in &self.made {
            // A build that broke off has made none.
            if self.has(image).await {
                self.engine.docker.run(["image", "rm", image]).await?;
            }
        }
        Ok(())
    }

    async fn has(&self, image: &str) -> bool {
        self.engine.docker.run(["image", "inspect", image]).await.is_ok()
    }

    async fn debootstrap(&mut self, debian: &Base) -> Result<()> {
        let suite = debian.tag.trim_end_matches("-slim");
        println!("  making a stand-in for {} with debootstrap …", debian.name);
        let root = Scratch::create(self.run.join("debian"))?;
        let mut command = Command::new("debootstrap");
        command.args(["--variant=minbase", suite]).arg(&root.0).arg(MIRROR).stdin(Stdio::null()).kill_on_drop(true);
        logged(command, &self.run.join("debootstrap.log")).await?;
        let mut tar = Command::new("tar");
        tar.arg("--directory").arg(&root.0).args(["--create", "."]);
        self.import(tar, &debian.name, &["--change", "CMD [\"bash\"]"]).await?;
        show::done(&format!("a stand-in for {}", debian.name));
        Ok(())
    }

    async fn stand_in(&mut self, base: &Base, debian: &Base) -> Result<()> {
        println!("  making a stand-in for {} …", base.name);
        if base.image == "rust" {
            self.import_toolchain().await?;
        }
        let context = workspace_root().join("xtask/containers").join(base.image);
        let arguments =
            ["--build-arg", &format!("DEBIAN={}", debian.name), "--build-arg", &format!("VERSION={}", base.version())];
        self.docker_build(&base.name, &arguments.map(str::to_owned), &context).await?;
        show::done(&format!("a stand-in for {}", base.name));
        Ok(())
    }

    /// Puts this machine's Rust, and the certificates that it trusts, into an image.
    async fn import_toolchain(&mut self) -> Result<()> {
        let mut rustc = Command::new("rustc");
        rustc.args(["--print", "sysroot"]).current_dir(workspace_root());
        let sysroot = output_of(rustc).await?;
        let mut tar = Command::new("tar");
        tar.args([
            "--create",
            "--transform",
            "s,^\\./,sysroot/,",
            "--directory",
            &sysroot,
            "./bin/cargo",
            "./bin/rustc",
            "./lib",
        ]);
        tar.args(["--directory", "/etc/ssl/certs", "--dereference", "ca-certificates.crt"]);
        self.import(tar, TOOLCHAIN, &[]).await
    }

    /// Makes an image of what `tar` writes.
    async fn import(&mut self, mut tar: Command, image: &str, changes: &[&str]) -> Result<()> {
        let archive = Scratch(self.run.join("image.tar"));
        tar.arg("--file").arg(&archive.0).stdin(Stdio::null()).kill_on_drop(true);
        output_of(tar).await?;
        let mut command = self.engine.docker.command("docker");
        command.arg("import").args(changes).arg(&archive.0).arg(image);
        self.made.push(image.to_owned());
        output_of(command).await.map(drop)
    }

    /// In the host's network, because a private engine gives containers no way out.
    async fn docker_build(&mut self, image: &str, arguments: &[String], context: &Path) -> Result<()> {
        let mut command = self.engine.docker.command("docker");
        command.args(["build", "--force-rm", "--network", "host", "--tag", image]).args(arguments).arg(context);
        command.current_dir(workspace_root());
        let log = self.run.join(format!("build-{}.log", image.split(':').next().unwrap_or(image)));
        self.made.push(image.to_owned());
        logged(command, &log).await
    }
}

/// An image that our files build on or run.
struct Base {
    image: &'static str,
    /// With its tag.
    name: String,
    tag: String,
}

impl Base {
    /// The one that the files name, which must be one alone.
    fn named(image: &'static str) -> Result<Self> {
        let mut tags = Vec::new();
        for file in FILES {
            let text =
                fs::read_to_string(workspace_root().join(file)).with_context(|| format!("cannot read {file}"))?;
            tags.extend(tags_in(&text, image));
        }
        tags.sort();
        tags.dedup();
        ensure!(tags.len() == 1, "{} name {} versions of the image `{image}`", FILES.join(", "), tags.len());
        let tag = tags.remove(0);
        Ok(Self { image, name: format!("{image}:{tag}"), tag })
    }

    /// The tag up to the name of the variant.
    fn version(&self) -> &str {
        self.tag.split('-').next().unwrap_or(&self.tag)
    }
}

/// The tags of `image` in lines that start a stage or name a service's image.
fn tags_in(text: &str, image: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("FROM ").or_else(|| line.trim().strip_prefix("image: ")))
        .filter_map(|rest| rest.split_whitespace().next()?.split_once(':'))
        .filter(|(name, _)| *name == image)
        .map(|(_, tag)| tag.to_owned())
        .collect()
}

/// A file or directory that is removed with it.
struct Scratch(PathBuf);

impl Scratch {
    fn create(directory: PathBuf) -> Result<Self> {
        fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
        Ok(Self(directory))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What resists goes with the run's directory.
        let _ = if self.0.is_dir() { fs::remove_dir_all(&self.0) } else { fs::remove_file(&self.0) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_base_image_of_the_files_can_be_stood_in_for() {
        for file in FILES {
            let text = fs::read_to_string(workspace_root().join(file)).unwrap();
            for line in text.lines().filter_map(|line| line.strip_prefix("FROM ")) {
                let (image, _) = line.split_once(':').unwrap();
                assert!(["debian", "rust"].contains(&image), "{file}: {image}");
            }
        }
        for image in ["debian", "rust", "postgres", "redis"] {
            let base = Base::named(image).unwrap();
            assert!(base.version().starts_with(|first: char| first.is_ascii_alphanumeric()), "{}", base.name);
            let context = workspace_root().join("xtask/containers").join(image);
            assert_eq!(context.join("Dockerfile").is_file(), image != "debian", "{image}");
        }
    }

    #[test]
    fn tags_are_read_from_stages_and_services() {
        let text = "FROM rust:1-slim AS a\n# FROM rust:2\n  image: redis:8.0\nFROM rust-extra:3\n  image: \"x:${T}\"\n";
        assert_eq!(tags_in(text, "rust"), ["1-slim"]);
        assert_eq!(tags_in(text, "redis"), ["8.0"]);
        assert_eq!(tags_in(text, "postgres"), Vec::<String>::new());
    }
}
