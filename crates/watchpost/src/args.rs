//! The command line, as a contract: names, options and their help.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

use crate::engine::Part;

/// A SIEM engine: logs in, Sigma detections, correlations and answers out.
#[derive(Debug, Parser)]
#[command(name = "watchpost", version, arg_required_else_help = true, max_term_width = 100)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// How logs are written to standard error; WATCHPOST_LOG filters them (info, debug, ...)
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Everything at once on a temporary data folder: a simulated fleet under attack
    Demo(DemoArgs),
    /// Run the engine: listeners, detection, search, pages
    Run(RunArgs),
    /// Match rules against files, without a server
    Scan(ScanArgs),
    /// Check, test and explain Sigma rules
    Rules(RulesArgs),
    /// What rules would have found in what is indexed
    Backtest(BacktestArgs),
    /// Search what is indexed
    Search(SearchArgs),
    /// Saved searches, of which some run by themselves and raise alerts
    Searches(SearchesArgs),
    /// Hunt by hypothesis
    Hunt(HuntArgs),
    /// Bring files through the whole pipeline
    Import(ImportArgs),
    /// Map the kept raw records anew, and exchange what the index has of them
    Renormalize(RenormalizeArgs),
    /// Look at records that a stage could not process, and put them back
    Rejected(RejectedArgs),
    /// Look after the sources: what each sent, and what became of it
    Sources(SourcesArgs),
    /// Look after the bus: copy it to another one
    Bus(BusArgs),
    /// Back up the index and what else belongs to an installation, and restore it
    Backup(BackupArgs),
    /// Look after the index: check its files
    Index(IndexArgs),
    /// Remove for good what matches a query, such as one person's data, and prove that it is gone
    Purge(PurgeArgs),
    /// Legal holds: what matches one is removed neither by retention nor by a purge
    Hold(HoldArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct IndexArgs {
    #[command(subcommand)]
    pub(crate) command: IndexCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum IndexCommand {
    /// Read all files of the index and compare their checksums; fails if one is damaged
    Check {
        /// The data folder; a server may be running on it
        #[arg(long, value_name = "DIR", env = "WATCHPOST_DATA")]
        data: Option<PathBuf>,
    },
}

/// Who does something that is recorded, and why.
#[derive(Debug, clap::Args)]
pub(crate) struct By {
    /// Who asks for it, for the audit log; the system's user if not said
    #[arg(long, value_name = "NAME")]
    pub(crate) who: Option<String>,
    /// Why, for the audit log
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
}

/// Who was named, or who the system says it is.
pub(crate) fn who(named: Option<&str>) -> String {
    let user = || std::env::var("USER").unwrap_or_else(|_| "unknown".to_owned());
    named.map_or_else(user, str::to_owned)
}

#[derive(Debug, clap::Args)]
pub(crate) struct PurgeArgs {
    /// The configuration file
    #[arg(long, value_name = "FILE", env = "WATCHPOST_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// The data folder; a server that runs on it does the purge
    #[arg(long, value_name = "DIR", env = "WATCHPOST_DATA")]
    pub(crate) data: Option<PathBuf>,
    /// Remove them; without it they are only counted
    #[arg(long)]
    pub(crate) yes: bool,
    /// Who asks for it, for the audit log; the system's user if not said
    #[arg(long, value_name = "NAME")]
    pub(crate) who: Option<String>,
    /// Why, for the audit log; needed with --yes
    #[arg(long, value_name = "TEXT", required_if_eq("yes", "true"))]
    pub(crate) reason: Option<String>,
    /// The longest to wait for a running server (5m)
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = duration)]
    pub(crate) timeout: Duration,
    /// What is purged, of all time: events that match, and alerts that match or carry such an event
    pub(crate) query: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct HoldArgs {
    #[command(subcommand)]
    pub(crate) command: HoldCommand,
    /// The data folder
    #[arg(long, value_name = "DIR", env = "WATCHPOST_DATA", global = true)]
    pub(crate) data: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum HoldCommand {
    /// Keep what matches a query until the hold is removed
    Add {
        /// Its name
        name: String,
        /// What is held
        query: String,
        #[command(flatten)]
        by: By,
    },
    /// Lift a hold
    Remove {
        /// Its name
        name: String,
        #[command(flatten)]
        by: By,
    },
    /// All holds
    List,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// Stop by itself after this time (30s, 5m)
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    pub(crate) duration: Option<Duration>,
    /// Address of the pages and the API
    #[arg(long, default_value = "127.0.0.1:8480")]
    pub(crate) listen: SocketAddr,
    /// Keep the data in this folder instead of a temporary one
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Background events per second
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) rate: u32,
    /// Stage no attack: only the background, to see what is falsely alerted
    #[arg(long)]
    pub(crate) benign: bool,
    /// Leave a source out: windows, linux, web or aws (repeatable)
    #[arg(long, value_name = "SOURCE")]
    pub(crate) without: Vec<simulation::Source>,
    /// Seed of the simulation; the same seed gives the same events
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// The configuration file
    #[arg(long, value_name = "FILE", env = "WATCHPOST_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// The data folder
    #[arg(long, value_name = "DIR", env = "WATCHPOST_DATA")]
    pub(crate) data: Option<PathBuf>,
    /// Only these stages: ingest, normalize, detection, correlation, indexing, web
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) stages: Vec<Part>,
    /// The bus: `embedded`, or kafka://host:port,host:port; above the configuration's bus.url
    #[arg(long, value_name = "URL")]
    pub(crate) bus: Option<String>,
    /// Only check the configuration and the rules, and say what would run
    #[arg(long)]
    pub(crate) check: bool,
}

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct SourcesArgs {
    #[command(subcommand)]
    pub(crate) command: Option<SourcesCommand>,
    #[command(flatten)]
    pub(crate) on: RejectedOn,
    /// How it is written
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SourcesCommand {
    /// What each source sent, and what is stored, dropped, rejected or on its way; fails if that
    /// does not balance
    Ledger {
        #[command(flatten)]
        on: RejectedOn,
        /// How it is written
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
    },
    /// How well the records of each dataset become events: what could not be read, late or missing
    /// times, fields that vanished or changed their type, volume; fails if something is wrong
    Health {
        #[command(flatten)]
        on: RejectedOn,
        /// How it is written
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
    },
    /// Run the tests beside source files (NAME.test.json beside NAME.yml): an input and the event
    /// that it must become; shows what differs
    Test {
        /// Source files or folders; the built-in ones take part too
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<PathBuf>,
        /// Write the events that came out into the tests, to be looked through
        #[arg(long)]
        update: bool,
    },
    /// The log files that a running server follows: how far each is read, and why one can't be;
    /// fails if some can't
    Files {
        /// Where it runs; the token is taken from WATCHPOST_TOKEN
        #[arg(long, value_name = "URL", default_value = "127.0.0.1:8480")]
        server: String,
        /// How it is written
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct BusArgs {
    #[command(subcommand)]
    pub(crate) command: BusCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BusCommand {
    /// Copy every record, all stages' places and their state to an empty bus, and compare
    Copy(BusCopyArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct BusCopyArgs {
    /// The bus that is copied: `embedded`, or kafka://host:port,host:port
    #[arg(long, value_name = "URL")]
    pub(crate) from: String,
    /// The empty bus that it is copied to
    #[arg(long, value_name = "URL")]
    pub(crate) to: String,
    /// Begin without the state of correlations: needed where the number of partitions changes
    #[arg(long)]
    pub(crate) drop_state: bool,
    /// The configuration file, whose table `kafka` says how to connect
    #[arg(long, value_name = "FILE", env = "WATCHPOST_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// The data folder
    #[arg(long, value_name = "DIR", env = "WATCHPOST_DATA")]
    pub(crate) data: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct BackupArgs {
    #[command(subcommand)]
    pub(crate) command: BackupCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BackupCommand {
    /// Make a backup, also while the server runs; only what the place lacks is copied
    Create {
        #[command(flatten)]
        of: BackupOf,
        #[command(flatten)]
        at: BackupAt,
        /// Then remove all backups but the newest N
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        keep: Option<u32>,
    },
    /// The backups of a place, oldest first
    List {
        #[command(flatten)]
        at: BackupAt,
        /// How they are written
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
    },
    /// Read every object of a backup and check its sum; names what is damaged, and fails then
    Verify {
        #[command(flatten)]
        at: BackupAt,
        /// The backup; the newest if none is named
        name: Option<String>,
    },
    /// Restore a backup into an empty data folder, or exchange the index of a stopped installation
    Restore {
        #[command(flatten)]
        of: BackupOf,
        #[command(flatten)]
        at: BackupAt,
        /// The backup; the newest if none is named
        name: Option<String>,
        /// Exchange the index of the installation that is there; its bus and all else stay
        #[arg(long)]
        replace_index: bool,
    },
    /// Remove backups, and every object that no other needs
    Remove {
        #[command(flatten)]
        at: BackupAt,
        /// All but the newest N
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        keep: Option<u32>,
        /// The backups
        #[arg(required_unless_present = "keep", conflicts_with = "keep")]
        names: Vec<String>,
    },
}

/// The installation.
#[derive(Debug, clap::Args)]
pub(crate) struct BackupOf {
    /// The configuration file
    #[arg(long, value_name = "FILE", env = "WATCHPOST_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// The data folder
    #[arg(long, value_name = "DIR", env = "WATCHPOST_DATA")]
    pub(crate) data: Option<PathBuf>,
}

/// Where backups are.
#[derive(Debug, clap::Args)]
pub(crate) struct BackupAt {
    /// A folder, or s3://bucket/prefix with access by AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
    /// AWS_REGION, AWS_ENDPOINT
    #[arg(value_name = "PLACE")]
    pub(crate) place: String,
    /// The file of the key that backups are encrypted with: 64 hexadecimal digits
    /// (`openssl rand -hex 32`), for its owner's eyes only
    #[arg(long, value_name = "FILE", env = "WATCHPOST_BACKUP_KEY_FILE")]
    pub(crate) key_file: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RuleSource {
    /// Files or folders of Sigma rules (repeatable); the built-in rules if none is named
    #[arg(long, value_name = "PATH")]
    pub(crate) rules: Vec<PathBuf>,
    /// Processing pipelines (pySigma's form) applied after the built-in ones (repeatable)
    #[arg(long = "pipeline", value_name = "FILE")]
    pub(crate) pipelines: Vec<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ScanArgs {
    #[command(flatten)]
    pub(crate) source: RuleSource,
    /// How matches are written
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
    /// Files read at the same time; as many as there are processors if not said
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) threads: Option<u16>,
    /// Only rules of this level or above
    #[arg(long, value_name = "LEVEL", default_value = "informational")]
    pub(crate) level: event::Level,
    /// Files (.evtx, .json, .jsonl, .log, .gz, .zst), folders, or `-` for standard input
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Jsonl,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RulesArgs {
    #[command(subcommand)]
    pub(crate) command: RulesCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RulesCommand {
    /// Read rules and say what is wrong with them
    Check {
        /// How findings are written
        #[arg(long, value_enum, default_value_t = CheckFormat::Text)]
        format: CheckFormat,
        /// Leave out one kind of advice (never-fed, costly-pattern, ...); refused rules are reported
        /// all the same
        #[arg(long, value_name = "CODE", value_parser = code)]
        silence: Vec<sigma::Code>,
        /// Processing pipelines applied after the built-in ones
        #[arg(long = "pipeline", value_name = "FILE")]
        pipelines: Vec<PathBuf>,
        /// Files or folders; the built-in rules if none is named
        paths: Vec<PathBuf>,
    },
    /// Run the tests beside the rules (NAME.test.yml)
    Test {
        /// Also write the results as JUnit XML into this file
        #[arg(long, value_name = "FILE")]
        junit: Option<PathBuf>,
        /// Processing pipelines applied after the built-in ones
        #[arg(long = "pipeline", value_name = "FILE")]
        pipelines: Vec<PathBuf>,
        /// Files or folders; the built-in rules if none is named
        paths: Vec<PathBuf>,
    },
    /// Tell for each part of a rule whether it holds for an event
    Explain {
        /// The rule's file
        rule: PathBuf,
        /// A file with the event as it is shipped, or `-` for standard input
        event: PathBuf,
        /// Processing pipelines applied after the built-in ones
        #[arg(long = "pipeline", value_name = "FILE")]
        pipelines: Vec<PathBuf>,
    },
    /// Solve rules for an event that matches, near misses, and what attackers' variations evade
    Witness {
        /// How it is written: everything, a line of JSON for each rule, or only what stands out
        #[arg(long, value_enum, default_value_t = WitnessFormat::Text)]
        format: WitnessFormat,
        /// A data folder: tell which rules need a field that no event there has
        #[arg(long, value_name = "DIR", env = "WATCHPOST_DATA")]
        data: Option<PathBuf>,
        /// Processing pipelines applied after the built-in ones
        #[arg(long = "pipeline", value_name = "FILE")]
        pipelines: Vec<PathBuf>,
        /// Files or folders; the built-in rules if none is named
        paths: Vec<PathBuf>,
    },
    /// Map rules to ATT&CK techniques, and tell which of them can fire
    Coverage {
        /// How it is written: a table, or a layer for ATT&CK Navigator
        #[arg(long, value_enum, default_value_t = CoverageFormat::Table)]
        format: CoverageFormat,
        /// A data folder: count only rules that the sources seen there can feed
        #[arg(long, value_name = "DIR", env = "WATCHPOST_DATA")]
        data: Option<PathBuf>,
        /// Processing pipelines applied after the built-in ones
        #[arg(long = "pipeline", value_name = "FILE")]
        pipelines: Vec<PathBuf>,
        /// Files or folders; the built-in rules if none is named
        paths: Vec<PathBuf>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum WitnessFormat {
    Text,
    Jsonl,
    Summary,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CoverageFormat {
    Table,
    Navigator,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CheckFormat {
    Text,
    Json,
    Sarif,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Where {
    /// The data folder to read
    #[arg(long, value_name = "DIR", env = "WATCHPOST_DATA")]
    pub(crate) data: Option<PathBuf>,
    /// Ask a running server, whatever data folder is named; the token is taken from WATCHPOST_TOKEN
    #[arg(long, value_name = "URL")]
    pub(crate) server: Option<String>,
    /// From when: a span before now (24h, 7d), a time (2026-08-05T12:00:00Z), or `all`
    #[arg(long, value_name = "T", default_value = "24h", value_parser = time)]
    pub(crate) since: String,
    /// Until when; now if not said
    #[arg(long, value_name = "T", value_parser = time)]
    pub(crate) until: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct SearchArgs {
    #[command(flatten)]
    pub(crate) place: Where,
    /// How results are written; csv and parquet need --output
    #[arg(long, value_enum, default_value_t = SearchFormat::Table)]
    pub(crate) format: SearchFormat,
    /// Write everything that is found, up to a million rows, into this file, whole or not at all;
    /// `-` is standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Show events as they come, until stopped; asks a running server, 127.0.0.1:8480 if none is named
    #[arg(long, conflicts_with_all = ["output", "alerts"])]
    pub(crate) follow: bool,
    /// Search alerts instead of events
    #[arg(long)]
    pub(crate) alerts: bool,
    /// For example: 'process.name:powershell.exe and not user.name:SYSTEM | stats count by host.name'
    pub(crate) query: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SearchFormat {
    Table,
    /// A JSON object per line
    #[value(alias = "jsonl")]
    Ndjson,
    Csv,
    Parquet,
}

#[derive(Debug, clap::Args)]
pub(crate) struct SearchesArgs {
    #[command(subcommand)]
    pub(crate) command: SearchesCommand,
    /// The configuration file, whose table `searches` names more of them
    #[arg(long, global = true, value_name = "FILE", env = "WATCHPOST_CONFIG")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SearchesCommand {
    /// List them, and when the scheduled ones run
    List {
        /// Files or folders; the built-in and configured ones if none is named
        paths: Vec<PathBuf>,
    },
    /// Read them and say what is wrong with them
    Check {
        /// Files or folders; the built-in and configured ones if none is named
        paths: Vec<PathBuf>,
    },
    /// Ask one now; it raises no alert
    Run {
        #[command(flatten)]
        place: Where,
        /// How results are written; csv and parquet need --output
        #[arg(long, value_enum, default_value_t = SearchFormat::Table)]
        format: SearchFormat,
        /// Write everything that is found into this file, as `watchpost search` does
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Its id, as listed
        id: String,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct BacktestArgs {
    /// The configuration file: its rules are the former version, its pipelines hold
    #[arg(long, value_name = "FILE", env = "WATCHPOST_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// The data folder to read
    #[arg(long, value_name = "DIR", env = "WATCHPOST_DATA")]
    pub(crate) data: Option<PathBuf>,
    /// From when: a span before now (24h, 30d), a time, or `all`
    #[arg(long, value_name = "T", default_value = "30d", value_parser = time)]
    pub(crate) since: String,
    /// Until when; now if not said
    #[arg(long, value_name = "T", value_parser = time)]
    pub(crate) until: Option<String>,
    /// A file or folder with the former versions; the rules in use if none is named
    #[arg(long, value_name = "PATH")]
    pub(crate) former: Vec<PathBuf>,
    /// A file of a processing pipeline, applied after the built-in ones
    #[arg(long = "pipeline", value_name = "FILE")]
    pub(crate) pipelines: Vec<PathBuf>,
    /// The longest it may read the index (5m); what was found until then is told
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
    pub(crate) timeout: Duration,
    /// How results are written
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
    /// Files or folders of Sigma rules
    #[arg(required = true)]
    pub(crate) rules: Vec<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct HuntArgs {
    #[command(subcommand)]
    pub(crate) command: HuntCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum HuntCommand {
    /// List the hunts
    List {
        /// Files or folders; the built-in hunts if none is named
        paths: Vec<PathBuf>,
    },
    /// Read hunts and say what is wrong with them
    Check {
        /// Files or folders; the built-in hunts if none is named
        paths: Vec<PathBuf>,
    },
    /// Run hunts over the index: supported, refuted, or inconclusive
    Run {
        #[command(flatten)]
        over: HuntOver,
        /// How the answer is written
        #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
        format: ReportFormat,
    },
    /// Run hunts and write the report for a ticket or a wiki, in Markdown
    Report {
        #[command(flatten)]
        over: HuntOver,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct HuntOver {
    /// The configuration file: it says whether a cluster is searched
    #[arg(long, value_name = "FILE", env = "WATCHPOST_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// The data folder to read
    #[arg(long, value_name = "DIR", env = "WATCHPOST_DATA")]
    pub(crate) data: Option<PathBuf>,
    /// From when: a span before now (24h, 7d), a time, or `all`; what the hunt says if not said
    #[arg(long, value_name = "T", value_parser = time)]
    pub(crate) since: Option<String>,
    /// Until when; now if not said
    #[arg(long, value_name = "T", value_parser = time)]
    pub(crate) until: Option<String>,
    /// Files or folders; the built-in hunts if none is named
    pub(crate) paths: Vec<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportFormat {
    Text,
    Markdown,
    Json,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ImportArgs {
    /// The configuration file
    #[arg(long, value_name = "FILE", env = "WATCHPOST_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// The data folder
    #[arg(long, value_name = "DIR", env = "WATCHPOST_DATA")]
    pub(crate) data: Option<PathBuf>,
    /// The dataset of the files, if their content does not tell
    #[arg(long, default_value = "", value_parser = dataset)]
    pub(crate) dataset: String,
    /// The namespace that the events and their alerts belong to
    #[arg(long, default_value = event::raw::NAMESPACE_DEFAULT, value_parser = namespace)]
    pub(crate) namespace: String,
    /// Files (.evtx, .json, .jsonl, .log, .gz, .zst), folders, or `-` for standard input
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RenormalizeArgs {
    /// The configuration file
    #[arg(long, value_name = "FILE", env = "WATCHPOST_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// The data folder, while no server runs on it
    #[arg(long, value_name = "DIR", env = "WATCHPOST_DATA")]
    pub(crate) data: Option<PathBuf>,
    /// Only records that came since then: an age (2h, 7d), a day or RFC 3339
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Only events that are of this dataset now or were before; `okta.*` for all that begin so
    #[arg(long, value_name = "NAME")]
    pub(crate) dataset: Option<String>,
    /// Say what would change, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RejectedArgs {
    #[command(subcommand)]
    pub(crate) command: RejectedCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RejectedCommand {
    /// List them, the newest last, and count them by stage and reason
    List {
        #[command(flatten)]
        on: RejectedOn,
        #[command(flatten)]
        which: RejectedWhich,
        /// The most records that are listed: the newest, up to 10000
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = limit)]
        limit: usize,
        /// How they are written
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
    },
    /// Show one with its headers, the reason and its value
    Show {
        #[command(flatten)]
        on: RejectedOn,
        /// Only the value, byte for byte
        #[arg(long)]
        raw: bool,
        /// Where it is, as listed: PARTITION/OFFSET
        #[arg(value_name = "PLACE")]
        place: bus::rejected::Place,
    },
    /// Put some back into the topics that they came from, each once
    ///
    /// A record goes back with its key, its own headers and its value, and a header `replayed.from`
    /// that says it is a replay. Only the stage that had refused it handles it; what other stages
    /// made of it stays as it is. That it was put back is stored in the same step, so a replay that
    /// was cut off can be done again.
    ///
    /// Events take their ids from the place of their raw record. A record of `raw` gets a new place,
    /// so its events have new ids; it had made none before. Events, matches and alerts that are put
    /// back keep their ids.
    Replay {
        #[command(flatten)]
        on: RejectedOn,
        /// All that match; without --stage, --topic, --reason or --since all there are
        #[arg(long, conflicts_with = "places", required_unless_present = "places")]
        all: bool,
        #[command(flatten)]
        which: RejectedWhich,
        /// Also those that were put back before
        #[arg(long)]
        again: bool,
        /// Only say what would be done
        #[arg(long)]
        dry_run: bool,
        /// Where they are, as listed: PARTITION/OFFSET
        #[arg(value_name = "PLACE", conflicts_with_all = ["stage", "topic", "reason", "since"])]
        places: Vec<bus::rejected::Place>,
    },
}

/// Where the bus is that is looked at.
#[derive(Debug, clap::Args)]
pub(crate) struct RejectedOn {
    /// The data folder, while no server runs on it
    #[arg(long, value_name = "DIR", env = "WATCHPOST_DATA")]
    pub(crate) data: Option<PathBuf>,
    /// A Kafka cluster: kafka://host:port,host:port; the data folder names the index's copy
    #[arg(long, value_name = "URL")]
    pub(crate) bus: Option<String>,
    /// The configuration file, whose table `kafka` says how to connect
    #[arg(long, value_name = "FILE", env = "WATCHPOST_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Ask a running server, whatever data folder is named; the token is taken from WATCHPOST_TOKEN
    #[arg(long, value_name = "URL")]
    pub(crate) server: Option<String>,
}

/// Which rejected records are meant.
#[derive(Debug, clap::Args)]
pub(crate) struct RejectedWhich {
    /// Only those that this stage refused: normalize, detection, correlation, indexing
    #[arg(long, value_name = "STAGE")]
    pub(crate) stage: Option<String>,
    /// Only those that came from this topic: raw, events, matches or alerts
    #[arg(long, value_name = "TOPIC")]
    pub(crate) topic: Option<bus::Topic>,
    /// Only those whose reason has this text
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// Only those rejected since then: a span before now (24h, 7d), a time, or `all`, which it is if
    /// not said
    #[arg(long, value_name = "T", value_parser = time)]
    pub(crate) since: Option<String>,
}

/// How many rejected records are listed.
fn limit(text: &str) -> Result<usize, String> {
    let max = web::rejected::LIMIT_MAX;
    let limit = text.parse().ok().filter(|limit| *limit <= max);
    limit.ok_or_else(|| format!("write a number up to {max}"))
}

/// A time or span, as it was written: it is counted from the moment when it is asked for.
fn time(text: &str) -> Result<String, String> {
    match query::parse_time(text, event::Timestamp::now()) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Reads the code of a kind of advice.
fn code(text: &str) -> Result<sigma::Code, String> {
    let known = || sigma::Code::ALL.iter().map(|code| code.as_str());
    sigma::Code::ALL.iter().find(|code| code.as_str() == text).copied().ok_or_else(|| {
        let near = match sigma::suggest::nearest(text, known()) {
            Some(near) => format!("did you mean `{near}`? "),
            None => String::new(),
        };
        format!("there is no such code. {near}All are: {}", known().collect::<Vec<_>>().join(", "))
    })
}

/// A dataset's name, or nothing.
fn dataset(text: &str) -> Result<String, ingest::NameError> {
    if !text.is_empty() {
        text.parse::<ingest::DatasetName>()?;
    }
    Ok(text.to_owned())
}

/// A namespace's name.
fn namespace(text: &str) -> Result<String, ingest::NameError> {
    text.parse::<ingest::Namespace>()?;
    Ok(text.to_owned())
}

/// Reads `30s`, `5m`, `2h`, `1d` or a bare number of seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let seconds = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err("write it as 30s, 5m, 2h or 1d".into()),
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(seconds))
        .map(Duration::from_secs)
        .ok_or_else(|| "write it as 30s, 5m, 2h or 1d".into())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        super::Args::command().debug_assert();
    }

    #[test]
    fn codes_are_read() {
        assert_eq!(super::code("never-fed"), Ok(sigma::Code::NeverFed));
        let error = super::code("never-feed").unwrap_err();
        assert!(error.starts_with("there is no such code. did you mean `never-fed`? All are: "));
        assert!(error.contains(", costly-pattern, "));
    }

    #[test]
    fn times_are_read() {
        assert_eq!(super::duration("90s").unwrap().as_secs(), 90);
        assert_eq!(super::duration("5m").unwrap().as_secs(), 300);
        assert_eq!(super::duration("7").unwrap().as_secs(), 7);
        for wrong in ["", "s", "5x", "-1s", "1.5h", "99999999999999999999d"] {
            assert!(super::duration(wrong).is_err(), "{wrong}");
        }
    }
}
