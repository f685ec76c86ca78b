//! Tests of the whole: layers over each other, all faults at once, references up to date.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::kinds::Draft;
use super::table::{SECTIONS, rows};
use super::*;

struct World {
    folder: tempfile::TempDir,
    inputs: Inputs,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let inputs = Inputs { folder: folder.path().to_owned(), ..Inputs::default() };
        Self { folder, inputs }
    }

    fn file(self, name: &str, content: &str) -> Self {
        fs::write(self.folder.path().join(name), content).unwrap();
        self
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.inputs.env.push((name.into(), value.into()));
        self
    }

    fn set(mut self, key: &str, value: &str) -> Self {
        self.inputs.flags.push(Flag { key: key.into(), value: value.into(), origin: "--set".into() });
        self
    }

    fn load(&self, role: Role) -> Result<Loaded, Faults> {
        load(&self.inputs, role)
    }

    fn faults(&self, role: Role) -> Vec<Fault> {
        self.load(role).map(|_| ()).expect_err("faults were expected").0
    }
}

#[test]
fn each_layer_is_over_the_one_before() {
    let key = "limits.max_depth";
    let world = World::new();
    assert_eq!(world.load(Role::Daemon).unwrap().settings().limits.max_depth, 64);
    let world = world.file("agent-bridge.toml", "[limits]\nmax_depth = 11\nmax_topics = 5");
    assert_eq!(world.load(Role::Daemon).unwrap().settings().limits.max_depth, 11);
    let world = world.file(".env", "AGENT_BRIDGE_LIMITS__MAX_DEPTH=12\n");
    assert_eq!(world.load(Role::Daemon).unwrap().settings().limits.max_depth, 12);
    let world = world.env("AGENT_BRIDGE_LIMITS__MAX_DEPTH", "13");
    assert_eq!(world.load(Role::Daemon).unwrap().settings().limits.max_depth, 13);
    let loaded = world.set(key, "14").set(key, "15").load(Role::Daemon).unwrap();
    assert_eq!(loaded.settings().limits.max_depth, 15);
    assert_eq!(loaded.settings().limits.max_topics, 5);
}

#[test]
fn the_listing_names_sources_and_shows_no_secret() {
    let secret = "0123456789abcdef0123456789abcdef";
    let world = World::new()
        .file("agent-bridge.toml", "[broker]\nagent_keys = [\"old=hunter2\", \"new=hunter3\"]")
        .file(".env", &format!("BRIDGE_SECRET={secret}"))
        .env("WEB_SERVER_ADDR", "127.0.0.1:9000");
    let loaded = world.load(Role::Daemon).unwrap();
    let listing = loaded.listing();
    for expected in
        ["# agent-bridge.toml", "# .env BRIDGE_SECRET", "127.0.0.1:9000", "# environment WEB_SERVER_ADDR", "# default"]
    {
        assert!(listing.contains(expected), "{expected} is missing in\n{listing}");
    }
    let debug = format!("{:?}", loaded.settings());
    for text in [&listing, &debug] {
        assert!(!text.contains("hunter") && !text.contains(secret), "{text}");
    }
}

#[test]
fn all_faults_are_reported_at_once_with_key_source_and_what_is_allowed() {
    let world = World::new()
        .file("agent-bridge.toml", "[broker]\naddr = \"nowhere\"\n[limit]\nmax_depth = 3\n[heartbeat]\ninterval = 5")
        .env("AGENT_TOKEN", "has space")
        .env("LOG_FORMAT", "xml")
        .env("AGENT_BRIDGE_WEB__PORT", "80")
        .set("limits.flow_control_share", "1.5")
        .set("limits.max_frame_bytes", "10");
    let faults = world.faults(Role::Daemon);
    let text = Faults(faults.clone()).to_string();
    let expected = [
        ("broker.addr", "agent-bridge.toml", "ip:port"),
        ("limit.max_depth", "agent-bridge.toml", "`limits.max_depth`"),
        ("heartbeat.interval", "agent-bridge.toml", "needs a unit"),
        ("broker.agent_token", "environment AGENT_TOKEN", "visible ASCII"),
        ("log.format", "environment LOG_FORMAT", "`text` or `json`"),
        ("AGENT_BRIDGE_WEB__PORT", "environment", "no setting has this name"),
        ("limits.flow_control_share", "--set", "0 to 1"),
        ("limits.max_frame_bytes", "--set", "1KiB"),
    ];
    assert_eq!(faults.len(), expected.len(), "{text}");
    for (key, origin, message) in expected {
        let fault = faults.iter().find(|fault| fault.key == key).unwrap_or_else(|| panic!("{key} is missing in {text}"));
        assert_eq!(fault.origin, origin, "{fault}");
        assert!(fault.message.contains(message), "{fault}");
    }
    assert!(!text.contains("has space"), "{text}");
}

#[test]
fn every_kind_of_value_is_read() {
    let world = World::new()
        .set("broker.addr", "localhost:9")
        .set("web.addr", "[::1]:10")
        .set("web.session_ttl", "7days")
        .set("limits.flow_control_burst", "0")
        .set("limits.flow_control_share", "0.5")
        .set("limits.outbox_bytes", "2 MiB")
        .set("limits.max_topics", "1_000")
        .set("web.cookie_secure", "true")
        .set("web.allowed_origins", "https://a.example, http://localhost:5173")
        .set("web.static_path", "./static")
        .set("web.broker_url", "ws://broker:8080")
        .set("broker.allow_dev_key", "yes")
        .env("AGENT_KEYS", "a=k1,b=k=2");
    let loaded = world.load(Role::Daemon).unwrap();
    let settings = loaded.settings();
    assert_eq!(settings.broker.addr.to_string(), "127.0.0.1:9");
    assert_eq!(settings.web.addr.to_string(), "[::1]:10");
    assert_eq!(settings.web.session_ttl, Duration::from_secs(7 * 86_400));
    assert_eq!(settings.limits.flow_control_burst, Duration::ZERO);
    assert!((settings.limits.flow_control_share - 0.5).abs() < f64::EPSILON);
    assert_eq!(settings.limits.outbox_bytes, 2 << 20);
    assert_eq!(settings.limits.max_topics, 1000);
    assert_eq!(settings.web.cookie_secure, CookieSecure::Always);
    assert_eq!(settings.web.allowed_origins, ["https://a.example", "http://localhost:5173"]);
    assert_eq!(settings.web.static_path.as_deref(), Some(Path::new("./static")));
    assert_eq!(settings.broker_url(), "ws://broker:8080");
    assert!(settings.broker.allow_dev_key);
    let keys: Vec<_> = settings.broker.agent_keys.iter().map(|key| (key.name.as_str(), key.key.reveal())).collect();
    assert_eq!(keys, [("a", "k1"), ("b", "k=2")]);
}

#[test]
fn a_named_file_must_exist() {
    let mut world = World::new();
    world.inputs.file = Some(PathBuf::from("/nonexistent/bridge.toml"));
    assert!(world.faults(Role::Daemon)[0].message.contains("cannot be read"));
    let world = World::new().env("AGENT_BRIDGE_CONFIG", "/nonexistent/bridge.toml");
    assert!(world.faults(Role::Daemon)[0].key.contains("bridge.toml"));
}

#[test]
fn empty_variables_count_as_unset() {
    let loaded = World::new().env("AGENT_TOKEN", "").env("WEB_SERVER_ADDR", " ").load(Role::Daemon).unwrap();
    assert_eq!(loaded.settings().web.addr.port(), 8081);
    assert!(loaded.settings().broker.agent_keys[0].key.matches(DEV_AGENT_KEY));
}

/// A value for each list setting that is neither its default nor empty.
fn some_list(key: &str) -> &'static str {
    match key {
        "broker.agent_keys" => "one=an-agent-key-of-my-own",
        "broker.hosts" | "web.hosts" => "bridge.example",
        "web.allowed_origins" => "https://app.example",
        "proxies.trusted" | "limits.exempt_networks" => "10.0.0.0/8",
        "auth.siwe_chains" => "1,5",
        "auth.eth_rpc_urls" => "1=https://node.example",
        "acme.domains" => "bridge.example",
        _ => "other",
    }
}

#[test]
fn an_empty_list_is_empty_whatever_source_says_so_and_whatever_was_set_below() {
    let lists: Vec<_> = rows().filter(|setting| setting.field.is_list()).collect();
    assert!(lists.len() > 15, "{}", lists.len());
    for setting in lists {
        let (key, name) = (setting.key, setting.generic_env());
        let (section, field) = key.split_once('.').expect("a section");
        let full = |value: &str| format!("[{section}]\n{field} = \"{value}\"\n");
        // The settings that lists need, and what comes after them.
        let world = || World::new().env("AGENT_TOKEN", "an-agent-key-of-my-own");
        let below = || world().file("agent-bridge.toml", &full(some_list(key)));
        let sources = [
            ("TOML text", world().file("agent-bridge.toml", &full(""))),
            ("TOML list", world().file("agent-bridge.toml", &format!("[{section}]\n{field} = []\n"))),
            (".env", below().file(".env", &format!("{name}=\n"))),
            ("environment", below().env(&name, "")),
            ("environment of blanks", below().env(&name, " , ")),
            ("flag", below().env(&name, some_list(key)).set(key, "")),
        ];
        for (source, world) in sources {
            match world.load(Role::Client) {
                Ok(loaded) => {
                    let mut draft = loaded.draft();
                    assert_eq!(setting.field.show(&mut draft), "", "{key} from {source}");
                }
                // The list of wallets' chains is the only one that must not be empty, and the fault
                // says so.
                Err(faults) => {
                    assert_eq!(key, "auth.siwe_chains", "{faults}");
                    assert!(faults.0[0].message.contains("it is empty"), "{source}: {faults}");
                }
            }
        }
    }
}

#[test]
fn an_empty_list_by_a_well_known_name_is_empty_too() {
    let world = World::new().file("agent-bridge.toml", "[proxies]\ntrusted = [\"10.0.0.0/8\"]\n").env("TRUSTED_PROXIES", "");
    assert!(world.load(Role::Client).unwrap().settings().proxies.trusted.is_empty());
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_first_line() {
    let world = World::new()
        .file(".env", "\u{feff}WEB_SERVER_ADDR=127.0.0.1:9\nLOG_FORMAT=json\n")
        .file("agent-bridge.toml", "\u{feff}[limits]\nmax_depth = 9\n");
    let loaded = world.load(Role::Daemon).unwrap();
    assert_eq!((loaded.settings().web.addr.port(), loaded.settings().limits.max_depth), (9, 9));
    assert_eq!(loaded.settings().log.format, LogFormat::Json);
}

#[test]
fn a_broken_line_of_dotenv_is_a_fault_that_shows_nothing_of_it() {
    let faults = World::new().file(".env", "LOG_FORMAT=json\nAGENT_TOKEN=two words hunter2\n").faults(Role::Daemon);
    assert!(!Faults(faults.clone()).to_string().contains("hunter2"));
    assert_eq!(faults[0].key, ".env");
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_text_is_a_fault_only_if_it_is_ours() {
    use std::os::unix::ffi::OsStringExt;
    let mut world = World::new();
    world.inputs.env.push(("OTHER".into(), OsString::from_vec(vec![0xff])));
    world.load(Role::Daemon).unwrap();
    world.inputs.env.push(("AGENT_TOKEN".into(), OsString::from_vec(vec![0xff])));
    assert_eq!(world.faults(Role::Daemon)[0].key, "AGENT_TOKEN");
}

#[test]
fn settings_that_are_unsafe_beyond_loopback_are_refused_with_a_code() {
    const SECRET: &str = "one-secret-for-everything-is-not-a-good-idea";
    let issuer = |secret: &str| {
        let world = World::new().env("JWT_ISSUER", "me").env("JWT_AUDIENCE", "bridge");
        world.env("JWT_SECRET", secret).env("SESSION_SECRET", SECRET)
    };
    const WEAK: &str = "unsafe_weak_secret";
    let repeated = "a".repeat(40);
    let named = |secret: &str| World::new().env("AGENT_KEYS", &format!("mine=another-key-of-my-own,weak={secret}"));
    let unsafe_worlds: [(&str, &str, &dyn Fn() -> World); 14] = [
        ("broker.agent_keys", WEAK, &|| named("secret-")),
        ("broker.agent_keys", WEAK, &|| named("secret-secret-secret-secret-")),
        ("broker.operator_token", WEAK, &|| World::new().env("OPERATOR_TOKEN", &repeated)),
        ("broker.bridge_secret", WEAK, &|| World::new().env("BRIDGE_SECRET", &repeated)),
        ("web.session_secret", WEAK, &|| World::new().env("SESSION_SECRET", "0123456789abcdef0123456789abcdef")),
        ("web.session_secret", "unsafe_shared_secret", &|| {
            World::new().env("SESSION_SECRET", SECRET).env("BRIDGE_SECRET", SECRET)
        }),
        ("broker.bridge_secret", "unsafe_shared_secret", &|| named(SECRET).env("BRIDGE_SECRET", SECRET)),
        ("broker.operator_token", "unsafe_operator_token", &|| World::new().env("OPERATOR_TOKEN", "an-agent-key-of-my-own")),
        ("proxies.trusted", "unsafe_proxies", &|| World::new().env("TRUSTED_PROXIES", "10.0.0.1,0.0.0.0/0")),
        ("proxies.trusted", "unsafe_proxies", &|| World::new().env("TRUSTED_PROXIES", "::/0")),
        ("web.cookie_secure", "unsafe_cookies", &|| World::new().set("web.cookie_secure", "false")),
        ("auth.jwt_secret", "unsafe_jwt_secret", &|| issuer("a-string-secret-at-least-256-bits-long")),
        ("auth.jwt_secret", "unsafe_jwt_secret", &|| issuer("super-secret-jwt-token-with-at-least-32-characters-long")),
        ("auth.jwt_secret", "unsafe_jwt_secret", &|| issuer(SECRET)),
    ];
    for (key, code, world) in unsafe_worlds {
        let world = || world().env("AGENT_TOKEN", "an-agent-key-of-my-own");
        world().load(Role::Daemon).unwrap();
        let faults = world().env("WEB_SERVER_ADDR", "0.0.0.0:8081").faults(Role::Daemon);
        assert_eq!((faults.len(), faults[0].key.as_str()), (1, key), "{faults:?}");
        assert!(faults[0].message.ends_with(&format!("({code})")), "{faults:?}");
        assert!(!faults[0].message.contains("secret-"), "{faults:?}");
    }
    let private =
        World::new().env("AGENT_TOKEN", "an-agent-key-of-my-own").env("TRUSTED_PROXIES", "10.0.0.0/8,fd00::/8,127.0.0.1");
    private.env("WEB_SERVER_ADDR", "0.0.0.0:8081").load(Role::Daemon).unwrap();
    // The broker has no cookies, whatever the shared file says.
    let shared = World::new().env("AGENT_TOKEN", "an-agent-key-of-my-own").set("web.cookie_secure", "false");
    shared.env("WEBSOCKET_SERVER_ADDR", "0.0.0.0:8080").load(Role::Daemon).unwrap();
}

#[test]
fn the_development_key_of_earlier_releases_is_refused_and_the_new_one_named() {
    for (key, world) in [
        ("broker.agent_token", World::new().env("AGENT_TOKEN", "dev-agent-key")),
        ("broker.agent_keys", World::new().env("AGENT_KEYS", "one=an-agent-key,two=dev-agent-key")),
    ] {
        let faults = world.faults(Role::Daemon);
        assert_eq!((faults.len(), faults[0].key.as_str()), (1, key), "{faults:?}");
        assert!(faults[0].message.contains("`dev_token`"), "{faults:?}");
    }
}

#[test]
fn a_weak_agent_token_is_refused_beyond_loopback_and_not_shown() {
    for weak in ["x", "hunter2", "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz"] {
        let world = || World::new().env("AGENT_TOKEN", weak);
        world().load(Role::Broker).unwrap();
        let faults = world().env("WEBSOCKET_SERVER_ADDR", "0.0.0.0:8080").faults(Role::Broker);
        assert_eq!((faults.len(), faults[0].key.as_str()), (1, "broker.agent_token"), "{faults:?}");
        assert!(faults[0].message.ends_with("(unsafe_weak_secret)"), "{faults:?}");
        assert!(weak == "x" || !Faults(faults.clone()).to_string().contains(weak), "{faults:?}");
        // An edge alone has no agents.
        world().env("WEB_SERVER_ADDR", "0.0.0.0:8081").load(Role::Edge).unwrap();
    }
}

#[test]
fn development_key_binds_loopback_only_unless_told() {
    let open = || World::new().env("WEBSOCKET_SERVER_ADDR", "0.0.0.0:8080");
    for role in [Role::Daemon, Role::Broker] {
        let faults = open().faults(role);
        assert_eq!((faults[0].key.as_str(), faults[0].origin.as_str()), ("broker.addr", "environment WEBSOCKET_SERVER_ADDR"));
        open().set("broker.allow_dev_key", "true").load(role).unwrap();
        open().env("AGENT_TOKEN", "an-agent-key-of-my-own").load(role).unwrap();
        open().env("AGENT_KEYS", "mine=an-agent-key-of-my-own").load(role).unwrap();
        assert_eq!(open().env("AGENT_KEYS", "mine=dev_token").faults(role).len(), 1);
    }
    open().load(Role::Edge).unwrap();
    let edge = || World::new().env("WEB_SERVER_ADDR", "[::]:8081");
    assert_eq!(edge().faults(Role::Daemon)[0].key, "web.addr");
    edge().load(Role::Edge).unwrap();
    World::new().env("WEBSOCKET_SERVER_ADDR", "[::1]:8080").load(Role::Daemon).unwrap();
}

#[test]
fn a_dialects_key_is_checked_where_its_listener_is_exposed_and_its_address_is_its_own() {
    let on = || World::new().set("dialects.supervisor.enabled", "true").env("SUPERVISOR_TOKEN", "dev-token-12345");
    on().load(Role::Edge).unwrap();
    let faults = on().env("SUPERVISOR_ADDR", "0.0.0.0:9999").faults(Role::Edge);
    assert_eq!((faults.len(), faults[0].key.as_str()), (1, "dialects.supervisor.token"), "{faults:?}");
    // Whatever address a dialect has that is off: it opens nothing.
    World::new().env("SUPERVISOR_ADDR", "0.0.0.0:9999").env("SUPERVISOR_TOKEN", "x").load(Role::Daemon).unwrap();
    let faults = on().env("SUPERVISOR_ADDR", "127.0.0.1:8081").faults(Role::Daemon);
    assert_eq!((faults.len(), faults[0].key.as_str()), (1, "dialects.supervisor.addr"), "{faults:?}");
    let nested = World::new().file("agent-bridge.toml", "[dialects.supervisor]\nenabled = true\naddr = \"127.0.0.1:1\"");
    assert_eq!(nested.load(Role::Edge).unwrap().settings().dialects.listeners().count(), 1);
}

#[test]
fn a_supabase_project_stands_for_its_issuer() {
    let auth = |world: World| world.load(Role::Edge).unwrap().settings().auth.clone();
    let project = || World::new().env("SUPABASE_URL", "https://abc.supabase.co");
    let published = auth(project());
    assert_eq!(published.jwt_issuers, ["https://abc.supabase.co/auth/v1"]);
    assert_eq!(published.jwt_audiences, ["authenticated"]);
    assert_eq!(published.jwks_url.as_deref(), Some("https://abc.supabase.co/auth/v1/.well-known/jwks.json"));
    let secret = auth(project().env("JWT_SECRET", "a-secret-of-the-project-of-32-bytes-or-more"));
    assert_eq!((secret.jwks_url, secret.jwt_issuers.len()), (None, 1));
    // Without an issuer a secret is of use to the hybrid dialect only.
    let alone = || World::new().env("JWT_SECRET", "a-secret-of-the-project-of-32-bytes-or-more");
    assert_eq!(alone().faults(Role::Edge)[0].key, "auth.jwt_issuer");
    alone().set("dialects.hybrid.enabled", "true").load(Role::Edge).unwrap();
}

#[test]
fn settings_that_contradict_each_other_are_faults() {
    let cases = [
        ("heartbeat.timeout", World::new().set("heartbeat.timeout", "5s")),
        ("web.reconnect_max", World::new().set("web.reconnect_max", "1ms")),
        ("limits.max_session_connections", World::new().set("limits.max_connections", "2")),
        ("limits.flow_control_burst", World::new().set("limits.flow_control_burst", "10s")),
        ("limits.max_fragments", World::new().set("limits.max_fragments", "2000").set("limits.max_frame_bytes", "1KiB")),
        ("limits.max_client_frame_bytes", World::new().set("limits.max_client_frame_bytes", "2KiB")),
        ("web.addr", World::new().set("web.addr", "127.0.0.1:8080")),
        ("broker.agent_keys", World::new().set("broker.agent_keys", "a=x,a=y")),
        ("broker.agent_keys", World::new().set("broker.agent_keys", "a=x,b=x")),
        ("broker.agent_keys", World::new().set("broker.agent_keys", "default=x").set("broker.agent_token", "y")),
    ];
    for (key, world) in cases {
        let faults = world.faults(Role::Daemon);
        assert_eq!(faults.iter().map(|fault| fault.key.as_str()).collect::<Vec<_>>(), [key]);
    }
    World::new().set("web.addr", "127.0.0.1:8080").load(Role::Edge).unwrap();
}

#[test]
fn edge_dials_the_broker_address_unless_told() {
    let url = |addr: &str| {
        let world = World::new().set("broker.addr", addr).set("broker.allow_dev_key", "true");
        world.load(Role::Daemon).unwrap().settings().broker_url()
    };
    assert_eq!(url("127.0.0.1:8080"), "ws://127.0.0.1:8080");
    assert_eq!(url("0.0.0.0:1"), "ws://127.0.0.1:1");
    assert_eq!(url("[::]:1"), "ws://[::1]:1");
}

#[test]
fn every_default_is_a_value_that_its_own_row_allows() {
    let mut draft = Draft::default();
    for setting in rows() {
        let shown = setting.field.show(&mut draft);
        if shown.is_empty() || setting.field.is_secret() {
            continue;
        }
        let raw = config::ValueKind::String(shown.clone());
        setting.field.apply(&mut draft, &raw).unwrap_or_else(|why| panic!("{} = {shown}: {why}", setting.key));
        assert_eq!(setting.field.show(&mut draft), shown, "{}", setting.key);
    }
}

#[test]
fn keys_and_names_are_unique_and_in_known_sections() {
    let mut names: Vec<String> = rows().flat_map(|row| [Some(row.generic_env()), row.env.map(str::to_owned)]).flatten().collect();
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count);
    for setting in rows() {
        assert!(SECTIONS.iter().any(|(section, _)| *section == setting.section()), "{}", setting.key);
    }
}

#[test]
fn generated_example_means_the_defaults() {
    let example = env_example();
    let settings =
        |line: &&str| line.strip_prefix('#').is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_uppercase()));
    let uncommented: String = example.lines().filter(settings).map(|line| format!("{}\n", &line[1..])).collect();
    assert_eq!(uncommented.lines().count(), rows().count());
    let loaded = World::new().file(".env", &uncommented).load(Role::Daemon).unwrap();
    assert_eq!(format!("{:?}", loaded.settings()), format!("{:?}", Settings::default()));
}

#[test]
fn the_references_in_the_repository_are_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for (name, generated) in [("docs/configuration.md", markdown()), (".env.example", env_example())] {
        let kept = fs::read_to_string(root.join(name)).unwrap_or_default();
        assert!(kept == generated, "{name} differs from the settings table: run `make docs`");
    }
}

#[test]
fn the_store_in_memory_has_its_former_name_too() {
    let stores = |world: World| {
        let loaded = world.load(Role::Daemon).unwrap();
        (loaded.settings().store.backend, loaded.settings().store.durability)
    };
    let world = || World::new().set("store.durability", "memory");
    assert_eq!(stores(world()), (Backend::Memory, Durability::Fsync));
    assert_eq!(stores(world().set("store.backend", "memory")), (Backend::Memory, Durability::Fsync));
    assert_eq!(stores(World::new().set("store.durability", "process")), (Backend::Embedded, Durability::Process));
    let faults = world().set("store.backend", "embedded").faults(Role::Daemon);
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].to_string().starts_with("store.durability"), "{faults:?}");
    let faults = World::new().set("store.backend", "postgres").faults(Role::Daemon);
    assert!(faults[0].to_string().contains("`embedded` or `memory`"), "{faults:?}");
}
