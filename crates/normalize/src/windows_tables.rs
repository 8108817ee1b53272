//! What is known about Windows event logs: which Sigma service a channel is, what an event id means.
//!
//! The services are those of Sigma's taxonomy (specification 2.1), and some that its public rules
//! use beyond it. The meanings cover what Windows' own documentation and Sysmon's describe of the
//! events that analysts look at; an event that is not here keeps all of its data, lacks
//! `event.action`, and has the category of its log.

/// The logs whose events are mapped beyond their header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Log {
    /// `Security`.
    Security,
    /// `System`.
    System,
    /// `Application`.
    Application,
    /// Sysmon's, on Windows or Linux.
    Sysmon,
    /// The PowerShell engine's script and module logs.
    PowerShell,
    /// `Windows PowerShell`, the engine's older log.
    PowerShellClassic,
    /// Any other.
    Other,
}

/// Which log a channel is, and its Sigma service. Channels are compared without regard to case.
pub(crate) fn log(channel: &str, provider: &str) -> (Log, Option<&'static str>) {
    let service = SERVICES
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(channel))
        .or_else(|| {
            // A record that was traced live has no channel; its provider tells as much.
            PROVIDERS
                .iter()
                .find(|(name, _)| channel.is_empty() && name.eq_ignore_ascii_case(provider))
        })
        .map(|(_, service)| *service);
    let log = match service {
        Some("security") => Log::Security,
        Some("system") => Log::System,
        Some("application") => Log::Application,
        Some("sysmon") => Log::Sysmon,
        Some("powershell") => Log::PowerShell,
        Some("powershell-classic") => Log::PowerShellClassic,
        _ => Log::Other,
    };
    (log, service)
}

/// The category of events whose id nothing is known of, by their log's Sigma service: what the log as
/// a whole is about. Any other is about its host.
pub(crate) fn category(service: Option<&str>) -> &'static str {
    match service.unwrap_or_default() {
        "bits-client"
        | "dhcp"
        | "dns-client"
        | "dns-server"
        | "dns-server-analytic"
        | "dns-server-audit"
        | "firewall-as"
        | "ldap"
        | "smbclient-connectivity"
        | "smbclient-security"
        | "smbserver-connectivity" => "network",
        "powershell" | "powershell-classic" | "wmi" | "applocker" => "process",
        "sysmon" => "process",
        "ntlm" | "lsa-server" | "openssh" => "authentication",
        "terminalservices-localsessionmanager" => "session",
        "windefend" => "malware",
        "taskscheduler" | "iis-configuration" | "msexchange-management" => "configuration",
        "driver-framework" => "driver",
        "ntfs" => "file",
        _ => "host",
    }
}

/// Channel, Sigma service.
const SERVICES: &[(&str, &str)] = &[
    ("Security", "security"),
    ("Microsoft-Windows-Sysmon/Operational", "sysmon"),
    ("System", "system"),
    ("Microsoft-Windows-PowerShell/Operational", "powershell"),
    ("PowerShellCore/Operational", "powershell"),
    ("Windows PowerShell", "powershell-classic"),
    ("Application", "application"),
    ("DNS Server", "dns-server"),
    ("Linux-Sysmon/Operational", "sysmon"),
    ("MSExchange Management", "msexchange-management"),
    ("Microsoft-IIS-Configuration/Operational", "iis-configuration"),
    // SigmaHQ's rules use the first name, the taxonomy a shorter one.
    ("Microsoft-ServiceBus-Client", "microsoft-servicebus-client"),
    ("Microsoft-ServiceBus-Client/Admin", "microsoft-servicebus-client"),
    ("Microsoft-ServiceBus-Client/Operational", "microsoft-servicebus-client"),
    ("Microsoft-Windows-AppLocker/EXE and DLL", "applocker"),
    ("Microsoft-Windows-AppLocker/MSI and Script", "applocker"),
    ("Microsoft-Windows-AppLocker/Packaged app-Deployment", "applocker"),
    ("Microsoft-Windows-AppLocker/Packaged app-Execution", "applocker"),
    ("Microsoft-Windows-AppModel-Runtime/Admin", "appmodel-runtime"),
    ("Microsoft-Windows-AppXDeploymentServer/Operational", "appxdeployment-server"),
    (
        "Microsoft-Windows-Application-Experience/Program-Compatibility-Assistant",
        "application-experience",
    ),
    ("Microsoft-Windows-Application-Experience/Program-Telemetry", "application-experience"),
    ("Microsoft-Windows-AppxPackaging/Operational", "appxpackaging-om"),
    ("Microsoft-Windows-BitLocker/BitLocker Management", "bitlocker"),
    ("Microsoft-Windows-Bits-Client/Operational", "bits-client"),
    ("Microsoft-Windows-CAPI2/Operational", "capi2"),
    (
        "Microsoft-Windows-CertificateServicesClient-Lifecycle-System/Operational",
        "certificateservicesclient-lifecycle-system",
    ),
    ("Microsoft-Windows-CodeIntegrity/Operational", "codeintegrity-operational"),
    ("Microsoft-Windows-DHCP-Server/Operational", "dhcp"),
    // The taxonomy has the name that the event viewer shows, a record that of the channel.
    ("Microsoft-Windows-DNS Client Events/Operational", "dns-client"),
    ("Microsoft-Windows-DNS-Client/Operational", "dns-client"),
    ("Microsoft-Windows-DNS-Server/Analytical", "dns-server-analytic"),
    ("Microsoft-Windows-DNSServer/Analytical", "dns-server-analytic"),
    ("Microsoft-Windows-DNS-Server/Audit", "dns-server-audit"),
    ("Microsoft-Windows-DNSServer/Audit", "dns-server-audit"),
    ("Microsoft-Windows-Diagnosis-Scripted/Operational", "diagnosis-scripted"),
    ("Microsoft-Windows-DriverFrameworks-UserMode/Operational", "driver-framework"),
    ("Microsoft-Windows-Hyper-V-Worker", "hyper-v-worker"),
    ("Microsoft-Windows-Hyper-V-Worker-Admin", "hyper-v-worker"),
    ("Microsoft-Windows-Hyper-V-Worker-Operational", "hyper-v-worker"),
    ("Microsoft-Windows-Kernel-EventTracing", "kernel-event-tracing"),
    ("Microsoft-Windows-Kernel-EventTracing/Admin", "kernel-event-tracing"),
    ("Microsoft-Windows-Kernel-EventTracing/Analytic", "kernel-event-tracing"),
    ("Microsoft-Windows-Kernel-ShimEngine/Diagnostic", "kernel-shimengine"),
    ("Microsoft-Windows-Kernel-ShimEngine/Operational", "kernel-shimengine"),
    ("Microsoft-Windows-LDAP-Client/Debug", "ldap"),
    ("Microsoft-Windows-LSA/Operational", "lsa-server"),
    ("Microsoft-Windows-NTLM/Operational", "ntlm"),
    ("Microsoft-Windows-Ntfs/Operational", "ntfs"),
    ("Microsoft-Windows-PrintService/Admin", "printservice-admin"),
    ("Microsoft-Windows-PrintService/Operational", "printservice-operational"),
    ("Microsoft-Windows-SENSE/Operational", "sense"),
    ("Microsoft-Windows-SMBServer/Connectivity", "smbserver-connectivity"),
    ("Microsoft-Windows-Security-Mitigations/Kernel Mode", "security-mitigations"),
    ("Microsoft-Windows-Security-Mitigations/KernelMode", "security-mitigations"),
    ("Microsoft-Windows-Security-Mitigations/User Mode", "security-mitigations"),
    ("Microsoft-Windows-Security-Mitigations/UserMode", "security-mitigations"),
    ("Microsoft-Windows-Shell-Core/Operational", "shell-core"),
    ("Microsoft-Windows-SmbClient/Connectivity", "smbclient-connectivity"),
    ("Microsoft-Windows-SmbClient/Security", "smbclient-security"),
    ("Microsoft-Windows-TaskScheduler/Operational", "taskscheduler"),
    (
        "Microsoft-Windows-TerminalServices-LocalSessionManager/Operational",
        "terminalservices-localsessionmanager",
    ),
    ("Microsoft-Windows-VHDMP/Operational", "vhdmp"),
    ("Microsoft-Windows-WMI-Activity/Operational", "wmi"),
    ("Microsoft-Windows-Windows Defender/Operational", "windefend"),
    ("Microsoft-Windows-Windows Firewall With Advanced Security/Firewall", "firewall-as"),
    ("OpenSSH/Operational", "openssh"),
];

/// Provider, Sigma service, for records without a channel.
const PROVIDERS: &[(&str, &str)] = &[
    ("Microsoft-Windows-Security-Auditing", "security"),
    ("Microsoft-Windows-Sysmon", "sysmon"),
    ("Linux-Sysmon", "sysmon"),
    ("Microsoft-Windows-PowerShell", "powershell"),
    ("PowerShellCore", "powershell"),
    ("PowerShell", "powershell-classic"),
    ("Microsoft-Windows-Windows Defender", "windefend"),
    ("Microsoft-Windows-TaskScheduler", "taskscheduler"),
    ("Microsoft-Windows-WMI-Activity", "wmi"),
    ("Service Control Manager", "system"),
];

/// Which of a Security event's accounts acts, and on whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accounts {
    /// The subject acts; there is no other.
    Subject,
    /// The account that logs on, off or fails to: the target.
    Target,
    /// The subject acts on the target account.
    SubjectOnTarget,
    /// The subject acts with the target account's credentials.
    SubjectAsTarget,
    /// The subject acts on the target group.
    SubjectOnGroup,
    /// The subject adds a member to the target group, or removes one.
    MemberOfGroup,
}

/// What an event id means.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Meaning {
    pub(crate) code: u32,
    /// ECS `event.action`.
    pub(crate) action: &'static str,
    /// ECS `event.category`.
    pub(crate) category: &'static str,
    /// ECS `event.type`.
    pub(crate) kinds: &'static [&'static str],
    /// Sigma's category; empty where the service alone is the class.
    pub(crate) class: &'static str,
    pub(crate) accounts: Accounts,
}

/// What an event of a log means, if that is known.
pub(crate) fn meaning(log: Log, code: u32) -> Option<&'static Meaning> {
    let table = meanings(log);
    table.binary_search_by_key(&code, |meaning| meaning.code).ok().and_then(|at| table.get(at))
}

fn meanings(log: Log) -> &'static [Meaning] {
    match log {
        Log::Security => SECURITY,
        Log::Sysmon => SYSMON,
        Log::System => SYSTEM,
        Log::PowerShell => POWERSHELL,
        Log::PowerShellClassic => POWERSHELL_CLASSIC,
        Log::Application | Log::Other => &[],
    }
}

/// Every service, with each of the Sigma categories that its events may have and with none.
pub(crate) fn classes() -> impl Iterator<Item = (Option<&'static str>, &'static str)> {
    SERVICES.iter().flat_map(|(channel, service)| {
        let (log, _) = log(channel, "");
        let cut = if log == Log::Sysmon { REGISTRY_KEYS } else { &[] };
        let categories = meanings(log).iter().map(|meaning| meaning.class);
        categories
            .chain(cut.iter().map(|(_, class, ..)| *class))
            .filter(|class| !class.is_empty())
            .map(|class| (Some(class), *service))
            .chain([(None, *service)])
    })
}

const fn of(
    code: u32,
    action: &'static str,
    category: &'static str,
    kinds: &'static [&'static str],
    class: &'static str,
) -> Meaning {
    Meaning { code, action, category, kinds, class, accounts: Accounts::Subject }
}

const fn security(
    code: u32,
    action: &'static str,
    category: &'static str,
    kinds: &'static [&'static str],
    accounts: Accounts,
) -> Meaning {
    // Sigma reads a process' creation from either log.
    let class = if code == 4688 { "process_creation" } else { "" };
    Meaning { code, action, category, kinds, class, accounts }
}

use Accounts::{MemberOfGroup, Subject, SubjectAsTarget, SubjectOnGroup, SubjectOnTarget, Target};

/// <https://learn.microsoft.com/windows/security/threat-protection/auditing/>, sorted by id.
const SECURITY: &[Meaning] = &[
    security(1100, "logging-service-shutdown", "process", &["end"], Subject),
    security(1102, "audit-log-cleared", "iam", &["admin", "change"], Subject),
    security(4608, "windows-started", "host", &["start"], Subject),
    security(4616, "changed-system-time", "host", &["change"], Subject),
    security(4624, "logged-in", "authentication", &["start"], Target),
    security(4625, "logon-failed", "authentication", &["start"], Target),
    security(4634, "logged-out", "session", &["end"], Target),
    security(4647, "logged-out", "session", &["end"], Target),
    security(4648, "logged-in-explicit", "authentication", &["start"], SubjectAsTarget),
    security(4656, "requested-handle-to-object", "file", &["access"], Subject),
    security(4657, "modified-registry-value", "registry", &["change"], Subject),
    security(4658, "closed-handle-to-object", "file", &["access"], Subject),
    security(4660, "deleted-object", "file", &["deletion"], Subject),
    security(4661, "requested-handle-to-object", "iam", &["info"], Subject),
    security(4662, "performed-operation-on-object", "iam", &["info"], Subject),
    security(4663, "accessed-object", "file", &["access"], Subject),
    security(4670, "changed-permissions-on-object", "iam", &["admin", "change"], Subject),
    security(4672, "logged-in-special", "iam", &["admin"], Subject),
    security(4673, "called-privileged-service", "iam", &["admin"], Subject),
    security(4674, "attempted-operation-on-privileged-object", "iam", &["admin"], Subject),
    security(4688, "created-process", "process", &["start"], Subject),
    security(4689, "exited-process", "process", &["end"], Subject),
    security(4696, "assigned-primary-token", "process", &["change"], SubjectOnTarget),
    security(4697, "installed-service", "configuration", &["creation"], Subject),
    security(4698, "created-scheduled-task", "configuration", &["creation"], Subject),
    security(4699, "deleted-scheduled-task", "configuration", &["deletion"], Subject),
    security(4700, "enabled-scheduled-task", "configuration", &["change"], Subject),
    security(4701, "disabled-scheduled-task", "configuration", &["change"], Subject),
    security(4702, "updated-scheduled-task", "configuration", &["change"], Subject),
    security(4703, "adjusted-token-rights", "iam", &["admin", "change"], SubjectOnTarget),
    security(4704, "assigned-user-right", "iam", &["admin", "change"], SubjectOnTarget),
    security(4705, "removed-user-right", "iam", &["admin", "change"], SubjectOnTarget),
    security(4706, "added-domain-trust", "configuration", &["creation"], Subject),
    security(4707, "removed-domain-trust", "configuration", &["deletion"], Subject),
    security(4713, "changed-kerberos-policy", "configuration", &["change"], Subject),
    security(4716, "modified-domain-trust", "configuration", &["change"], Subject),
    security(4717, "granted-system-access", "iam", &["admin", "change"], SubjectOnTarget),
    security(4718, "removed-system-access", "iam", &["admin", "change"], SubjectOnTarget),
    security(4719, "changed-audit-config", "iam", &["admin", "change"], Subject),
    security(4720, "added-user-account", "iam", &["user", "creation"], SubjectOnTarget),
    security(4722, "enabled-user-account", "iam", &["user", "change"], SubjectOnTarget),
    security(4723, "changed-password", "iam", &["user", "change"], SubjectOnTarget),
    security(4724, "reset-password", "iam", &["user", "change"], SubjectOnTarget),
    security(4725, "disabled-user-account", "iam", &["user", "change"], SubjectOnTarget),
    security(4726, "deleted-user-account", "iam", &["user", "deletion"], SubjectOnTarget),
    security(4727, "added-group-account", "iam", &["group", "creation"], SubjectOnGroup),
    security(4728, "added-member-to-group", "iam", &["group", "change"], MemberOfGroup),
    security(4729, "removed-member-from-group", "iam", &["group", "change"], MemberOfGroup),
    security(4730, "deleted-group-account", "iam", &["group", "deletion"], SubjectOnGroup),
    security(4731, "added-group-account", "iam", &["group", "creation"], SubjectOnGroup),
    security(4732, "added-member-to-group", "iam", &["group", "change"], MemberOfGroup),
    security(4733, "removed-member-from-group", "iam", &["group", "change"], MemberOfGroup),
    security(4734, "deleted-group-account", "iam", &["group", "deletion"], SubjectOnGroup),
    security(4735, "modified-group-account", "iam", &["group", "change"], SubjectOnGroup),
    security(4737, "modified-group-account", "iam", &["group", "change"], SubjectOnGroup),
    security(4738, "modified-user-account", "iam", &["user", "change"], SubjectOnTarget),
    security(4739, "changed-domain-policy", "configuration", &["change"], Subject),
    security(4740, "locked-out-user-account", "iam", &["user", "change"], SubjectOnTarget),
    security(4741, "added-computer-account", "iam", &["creation"], SubjectOnTarget),
    security(4742, "changed-computer-account", "iam", &["change"], SubjectOnTarget),
    security(4743, "deleted-computer-account", "iam", &["deletion"], SubjectOnTarget),
    security(4754, "added-group-account", "iam", &["group", "creation"], SubjectOnGroup),
    security(4755, "modified-group-account", "iam", &["group", "change"], SubjectOnGroup),
    security(4756, "added-member-to-group", "iam", &["group", "change"], MemberOfGroup),
    security(4757, "removed-member-from-group", "iam", &["group", "change"], MemberOfGroup),
    security(4758, "deleted-group-account", "iam", &["group", "deletion"], SubjectOnGroup),
    security(4767, "unlocked-user-account", "iam", &["user", "change"], SubjectOnTarget),
    security(4768, "requested-kerberos-ticket", "authentication", &["start"], Target),
    security(4769, "requested-kerberos-service-ticket", "authentication", &["start"], Target),
    security(4770, "renewed-kerberos-service-ticket", "authentication", &["start"], Target),
    security(4771, "kerberos-preauth-failed", "authentication", &["start"], Target),
    security(4776, "validated-credentials", "authentication", &["start"], Target),
    security(4778, "reconnected-session", "session", &["start"], Target),
    security(4779, "disconnected-session", "session", &["end"], Target),
    security(4781, "renamed-user-account", "iam", &["user", "change"], SubjectOnTarget),
    security(4794, "set-restore-mode-password", "iam", &["user", "change"], Subject),
    security(4798, "enumerated-groups-of-user", "iam", &["user", "info"], SubjectOnTarget),
    security(4799, "enumerated-members-of-group", "iam", &["group", "info"], SubjectOnGroup),
    security(4800, "locked-workstation", "session", &["change"], Target),
    security(4801, "unlocked-workstation", "session", &["change"], Target),
    security(4825, "denied-remote-desktop-access", "authentication", &["denied"], Target),
    security(4946, "added-firewall-rule", "configuration", &["creation"], Subject),
    security(4947, "modified-firewall-rule", "configuration", &["change"], Subject),
    security(4948, "deleted-firewall-rule", "configuration", &["deletion"], Subject),
    security(4964, "logged-in-special", "iam", &["admin", "group"], Target),
    security(5136, "modified-directory-object", "iam", &["change"], Subject),
    security(5137, "added-directory-object", "iam", &["creation"], Subject),
    security(5139, "moved-directory-object", "iam", &["change"], Subject),
    security(5140, "accessed-network-share", "file", &["access"], Subject),
    security(5141, "deleted-directory-object", "iam", &["deletion"], Subject),
    security(5142, "added-network-share", "configuration", &["creation"], Subject),
    security(5143, "modified-network-share", "configuration", &["change"], Subject),
    security(5144, "deleted-network-share", "configuration", &["deletion"], Subject),
    security(5145, "checked-network-share-object", "file", &["access"], Subject),
    security(5152, "blocked-packet", "network", &["connection", "denied"], Subject),
    security(5154, "allowed-listening", "network", &["connection", "allowed"], Subject),
    security(5156, "allowed-connection", "network", &["connection", "allowed"], Subject),
    security(5157, "blocked-connection", "network", &["connection", "denied"], Subject),
    security(5158, "allowed-bind", "network", &["connection", "allowed"], Subject),
    security(5379, "read-stored-credentials", "iam", &["user", "access"], Subject),
];

/// <https://learn.microsoft.com/sysinternals/downloads/sysmon>, sorted by id. Event 12 is cut finer
/// by what it tells.
const SYSMON: &[Meaning] = &[
    of(1, "created-process", "process", &["start"], "process_creation"),
    of(2, "changed-file-creation-time", "file", &["change"], "file_change"),
    of(3, "connected", "network", &["connection", "start"], "network_connection"),
    of(4, "changed-sysmon-state", "process", &["change"], "sysmon_status"),
    of(5, "exited-process", "process", &["end"], "process_termination"),
    of(6, "loaded-driver", "driver", &["start"], "driver_load"),
    of(7, "loaded-image", "library", &["start"], "image_load"),
    of(8, "created-remote-thread", "process", &["change"], "create_remote_thread"),
    of(9, "read-raw-device", "file", &["access"], "raw_access_thread"),
    of(10, "accessed-process", "process", &["access"], "process_access"),
    of(11, "created-file", "file", &["creation"], "file_event"),
    of(12, "changed-registry-key", "registry", &["change"], "registry_event"),
    of(13, "set-registry-value", "registry", &["change"], "registry_set"),
    of(14, "renamed-registry-key", "registry", &["change"], "registry_rename"),
    of(15, "created-file-stream", "file", &["creation"], "create_stream_hash"),
    of(16, "changed-sysmon-config", "configuration", &["change"], "sysmon_status"),
    of(17, "created-pipe", "file", &["creation"], "pipe_created"),
    of(18, "connected-pipe", "file", &["access"], "pipe_created"),
    of(19, "registered-wmi-filter", "process", &["creation"], "wmi_event"),
    of(20, "registered-wmi-consumer", "process", &["creation"], "wmi_event"),
    of(21, "bound-wmi-consumer", "process", &["creation"], "wmi_event"),
    of(22, "dns-query", "network", &["connection", "protocol", "info"], "dns_query"),
    of(23, "deleted-file", "file", &["deletion"], "file_delete"),
    of(24, "changed-clipboard", "process", &["change"], "clipboard_capture"),
    of(25, "tampered-with-process", "process", &["change"], "process_tampering"),
    of(26, "deleted-file", "file", &["deletion"], "file_delete_detected"),
    of(27, "blocked-executable-file", "file", &["creation", "denied"], "file_block_executable"),
    of(28, "blocked-file-shredding", "file", &["deletion", "denied"], "file_block_shredding"),
    of(29, "created-executable-file", "file", &["creation"], "file_executable_detected"),
    of(255, "sysmon-error", "process", &["error"], "sysmon_error"),
];

/// Sysmon 12: its `EventType`, Sigma's category, ECS `event.action` and `event.type`.
pub(crate) const REGISTRY_KEYS: &[(&str, &str, &str, &str)] = &[
    ("CreateKey", "registry_add", "created-registry-key", "creation"),
    ("CreateValue", "registry_add", "created-registry-key", "creation"),
    ("DeleteKey", "registry_delete", "deleted-registry-key", "deletion"),
    ("DeleteValue", "registry_delete", "deleted-registry-value", "deletion"),
];

const SYSTEM: &[Meaning] = &[
    of(104, "event-log-cleared", "iam", &["admin", "change"], ""),
    of(1074, "started-shutdown", "host", &["end"], ""),
    of(6005, "started-event-log", "host", &["start"], ""),
    of(6006, "stopped-event-log", "host", &["end"], ""),
    of(6008, "unexpected-shutdown", "host", &["end"], ""),
    of(7034, "crashed-service", "process", &["end"], ""),
    of(7036, "changed-service-state", "process", &["change"], ""),
    of(7040, "changed-service-start-type", "configuration", &["change"], ""),
    of(7045, "installed-service", "configuration", &["creation"], ""),
];

const POWERSHELL: &[Meaning] = &[
    of(4103, "executed-pipeline", "process", &["info"], "ps_module"),
    of(4104, "executed-script-block", "process", &["info"], "ps_script"),
    of(4105, "started-script-block", "process", &["start"], ""),
    of(4106, "ended-script-block", "process", &["end"], ""),
];

const POWERSHELL_CLASSIC: &[Meaning] = &[
    of(400, "started-engine", "process", &["start"], "ps_classic_start"),
    of(403, "ended-engine", "process", &["end"], ""),
    of(600, "started-provider", "process", &["info"], "ps_classic_provider_start"),
    of(800, "executed-pipeline", "process", &["info"], "ps_classic_script"),
];

#[cfg(test)]
mod tests {
    use super::{Log, POWERSHELL, POWERSHELL_CLASSIC, SECURITY, SERVICES, SYSMON, SYSTEM, log};

    #[test]
    fn tables_are_sorted_and_single() {
        for table in [SECURITY, SYSMON, SYSTEM, POWERSHELL, POWERSHELL_CLASSIC] {
            assert!(table.is_sorted_by(|a, b| a.code < b.code));
        }
        let mut names: Vec<_> = SERVICES.iter().map(|(name, _)| name.to_lowercase()).collect();
        names.sort();
        assert!(names.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn channels_have_their_service() {
        assert_eq!(log("security", "x"), (Log::Security, Some("security")));
        assert_eq!(log("", "Microsoft-Windows-Sysmon"), (Log::Sysmon, Some("sysmon")));
        assert_eq!(log("Some/Other", "Microsoft-Windows-Sysmon"), (Log::Other, None));
    }
}
