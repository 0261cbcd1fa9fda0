//! What the files of a deployment promise, read from the files themselves: no Docker is needed.
//!
//! Whether the images build and the services run is proved by `cargo xtask test --containers`; here is what such a run cannot
//! see, or would tell late: a variable that no program knows, a secret with a default, a port that is open to the world.

mod compose;
mod dockerfile;
mod files;

use std::{collections::BTreeSet, path::Path, time::Duration};

use compose::{Compose, EnvFile};
use dockerfile::Dockerfile;
use millrace_shared::config::{AdminConfig, ApiConfig, Source, WorkerConfig, settings::SETTINGS};

const DOCKERFILES: [&str; 2] = ["Dockerfile.api", "Dockerfile.worker"];
/// The services that run Millrace's own programs.
const OURS: [&str; 3] = ["migrate", "api", "worker"];
/// Good enough for production; made for this test.
const REAL_SECRETS: [(&str, &str); 2] =
    [("POSTGRES_PASSWORD", "qk3Zr8Vw1Lx5Tn7Yb2Hc9Jd4"), ("REDIS_PASSWORD", "Mf6Ps0GaXe1Ru8Wq5Zt3Kv7N")];

fn is_secret(name: &str) -> bool {
    // A public key is none, and the id of an access key is worth nothing without its secret.
    ["PASSWORD", "SECRET", "TOKEN"].iter().any(|part| name.contains(part)) || name.ends_with("_KEY")
}

/// What `service` gets when `.env.example` is filled in with `secrets`.
fn environment(service: &str, secrets: &[(&str, &str)]) -> Source {
    let mut variables = EnvFile::example().0;
    variables.extend(secrets.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())));
    let environment = Compose::read().service(service).environment();
    environment
        .into_iter()
        .map(|(name, value)| (name, compose::expand(&value, &variables).expect("all that is needed is set")))
        .collect()
}

#[test]
fn every_variable_that_compose_passes_is_a_setting() {
    let compose = Compose::read();
    for service in OURS {
        for name in compose.service(service).environment().keys() {
            let known = name.starts_with("AWS_") || SETTINGS.iter().any(|setting| setting.name == name);
            assert!(known, "{service} is given {name}, which no program reads");
        }
    }
}

#[test]
fn every_variable_that_compose_asks_for_is_in_the_example_and_none_else() {
    let asked = Compose::read().variables();
    let explained: BTreeSet<String> = EnvFile::example().0.into_keys().collect();
    assert_eq!(asked, explained);
}

#[test]
fn no_secret_has_a_default() {
    let compose = Compose::read();
    for reference in compose.references() {
        if is_secret(&reference.name) {
            // Without either, Compose would warn, and go on with nothing.
            let needed_or_off = reference.required || reference.default.as_deref() == Some("");
            assert!(needed_or_off, "{} is neither needed nor off unless it is set", reference.name);
        }
    }
    for (name, value) in EnvFile::example().0 {
        assert!(!is_secret(&name) || value.is_empty(), "{name} has a value in .env.example");
    }
    for (service, name, value) in compose.all_environments() {
        let secret = match value.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@')) {
            Some((login, _)) => login.split_once(':').expect("a user and a password").1,
            None if is_secret(&name) => &value,
            None => continue,
        };
        let from_outside = secret.is_empty() || (secret.starts_with("${") && secret.ends_with('}'));
        assert!(from_outside, "{name} of {service} is written down in docker-compose.yml");
    }
}

#[test]
fn nothing_starts_with_the_example_as_it_is() {
    let example = EnvFile::example().0;
    let compose = Compose::read();
    for service in compose.services() {
        // A service that does not say it itself is one that compose does not start without the others.
        let environment = compose.service(&service).environment();
        let refused = environment.values().any(|value| compose::expand(value, &example).is_err());
        assert!(refused, "{service} starts without a secret");
    }
}

#[test]
fn programs_accept_what_compose_gives_them_with_real_secrets() {
    ApiConfig::load(&environment("api", &REAL_SECRETS)).expect("the API starts");
    WorkerConfig::load(&environment("worker", &REAL_SECRETS)).expect("the worker starts");
    AdminConfig::load(&environment("migrate", &REAL_SECRETS)).expect("the migration starts");
}

#[test]
fn programs_refuse_placeholders_that_somebody_filled_in() {
    for (name, _) in REAL_SECRETS {
        let mut secrets = REAL_SECRETS.to_vec();
        secrets.push((name, "change-me-change-me-change-me"));
        for service in OURS {
            let source = environment(service, &secrets);
            let refused = match service {
                "api" => ApiConfig::load(&source).is_err(),
                "worker" => WorkerConfig::load(&source).is_err(),
                _ => AdminConfig::load(&source).is_err(),
            };
            assert!(refused, "{service} starts with a placeholder as {name}");
        }
    }
}

#[test]
fn ports_are_bound_to_loopback() {
    let compose = Compose::read();
    let ports: Vec<String> =
        compose.services().iter().flat_map(|service| compose.service(service).strings("ports")).collect();
    assert!(!ports.is_empty(), "the API is reached at none");
    for port in ports {
        assert!(port.starts_with("127.0.0.1:"), "{port} is open to the network");
    }
}

#[test]
fn the_grace_period_outlasts_the_drain() {
    let compose = Compose::read();
    for service in ["api", "worker"] {
        let service = compose.service(service);
        let drain = compose::duration(&service.environment()["MILLRACE_DRAIN_TIMEOUT"]);
        let grace = compose::duration(&service.string("stop_grace_period").expect("a grace period"));
        // What comes after the drain: handing back, closing connections.
        assert!(grace >= drain + Duration::from_secs(5), "{grace:?} is too short for a drain of {drain:?}");
    }
}

#[test]
fn every_service_is_confined() {
    let compose = Compose::read();
    for name in compose.services() {
        let service = compose.service(&name);
        assert_eq!(service.0["read_only"], true, "{name} can write to its root file system");
        assert_eq!(service.strings("cap_drop"), ["ALL"], "{name} has capabilities");
        assert_eq!(service.strings("cap_add"), Vec::<String>::new(), "{name} has capabilities");
        assert_eq!(service.strings("security_opt"), ["no-new-privileges:true"], "{name} can gain privileges");
        assert_ne!(service.0["privileged"], true, "{name} is privileged");
        match service.string("user") {
            Some(user) => assert!(!["root", "0", "0:0"].contains(&user.as_str()), "{name} runs as root"),
            None => assert!(OURS.contains(&name.as_str()), "{name} runs as whoever its image likes"),
        }
    }
}

#[test]
fn every_service_that_stays_has_a_health_check() {
    let compose = Compose::read();
    for name in compose.services() {
        let service = compose.service(&name);
        let check = &service.0["healthcheck"];
        if service.string("restart").as_deref() == Some("no") {
            assert_eq!(check["disable"], true, "{name} ends, and would count as ill");
        } else {
            assert!(check["test"].is_array(), "{name} has no health check");
        }
    }
}

#[test]
fn api_and_worker_wait_for_the_migration_and_share_the_files() {
    let compose = Compose::read();
    let path = EnvFile::example().0["MILLRACE_STORAGE_URL"].strip_prefix("file://").map(str::to_owned);
    let mount = format!("storage:{}", path.expect("a directory"));
    for name in ["api", "worker"] {
        let service = compose.service(name);
        assert_eq!(service.strings("volumes"), [mount.as_str()], "of {name}");
        let waits = &service.0["depends_on"]["migrate"]["condition"];
        assert_eq!(waits, "service_completed_successfully", "of {name}");
    }
    for dockerfile in DOCKERFILES.map(Dockerfile::read) {
        let makes = dockerfile
            .last_stage()
            .any(|line| line.contains("install --directory") && line.ends_with("/var/lib/millrace"));
        assert!(makes, "{} does not make the directory, so a new volume would be root's", dockerfile.name);
    }
}

#[test]
fn services_name_files_and_images_that_exist() {
    let compose = Compose::read();
    for name in compose.services() {
        let service = compose.service(&name);
        let image = service.string("image").expect("an image");
        match service.0["build"]["dockerfile"].as_str() {
            Some(file) => assert!(DOCKERFILES.contains(&file), "{name} is built from {file}"),
            None => assert!(dockerfile::is_pinned(&image), "{name} runs any version of {image}"),
        }
        for volume in service.strings("volumes") {
            let (volume, _) = volume.split_once(':').expect("a volume and its place");
            assert!(compose.has_volume(volume), "{name} mounts {volume}, which is no named volume");
        }
    }
}

#[test]
fn images_run_as_somebody_who_is_told_by_number() {
    for dockerfile in DOCKERFILES.map(Dockerfile::read) {
        let users: Vec<&str> = dockerfile.last_stage().filter_map(|line| line.strip_prefix("USER ")).collect();
        let [user] = users[..] else { panic!("{} has {} users", dockerfile.name, users.len()) };
        let ids: Vec<u32> = user.split(':').map(|id| id.parse().expect("a number")).collect();
        assert!(ids.len() == 2 && ids.iter().all(|id| *id >= 10_000), "{}: {user}", dockerfile.name);
        assert!(dockerfile.last_stage().any(|line| line.starts_with("HEALTHCHECK ")), "{}", dockerfile.name);
    }
}

#[test]
fn images_are_built_from_what_is_there() {
    let root = files::root();
    let let_through = files::let_through_to_the_builder();
    for dockerfile in DOCKERFILES.map(Dockerfile::read) {
        for source in dockerfile.copied_from_the_context() {
            assert!(root.join(&source).exists(), "{} copies {source}, which is not there", dockerfile.name);
            let top = Path::new(&source).iter().next().expect("a name").to_string_lossy().into_owned();
            assert!(top == "." || let_through.contains(&top), ".dockerignore keeps {source} from {}", dockerfile.name);
        }
        for image in dockerfile.base_images() {
            assert!(dockerfile::is_pinned(&image), "{} is built on any version of {image}", dockerfile.name);
        }
    }
}

#[test]
fn the_builder_gets_every_crate_and_no_secret() {
    let let_through = files::let_through_to_the_builder();
    for member in files::workspace_members() {
        assert!(
            let_through.contains(&member),
            ".dockerignore keeps the crate {member} back, and cargo wants all of them"
        );
    }
    for kept_back in [".env", ".git", "target", "data", "fixtures"] {
        assert!(!let_through.contains(kept_back), "{kept_back} goes to the builder");
    }
}

#[test]
fn both_images_are_of_one_build() {
    let [api, worker] = DOCKERFILES.map(Dockerfile::read);
    assert_eq!(api.build_stages(), worker.build_stages());
}

#[test]
fn images_are_built_by_the_toolchain_of_the_repository() {
    let toolchain = files::read("rust-toolchain.toml");
    let channel =
        toolchain.lines().find_map(|line| line.strip_prefix("channel = ")).expect("a channel").trim_matches('"');
    for dockerfile in DOCKERFILES.map(Dockerfile::read) {
        let rust: Vec<_> = dockerfile.base_images().into_iter().filter(|image| image.starts_with("rust:")).collect();
        assert!(!rust.is_empty(), "{} compiles nothing", dockerfile.name);
        for image in rust {
            assert!(image.starts_with(&format!("rust:{channel}-")), "{}: {image}, not {channel}", dockerfile.name);
        }
    }
}
