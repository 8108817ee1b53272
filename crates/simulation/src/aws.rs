//! AWS CloudTrail records, one JSON object each, as a forwarder sends them.
//! <https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html>

use event::Timestamp;
use serde_json::{Value, json};

use crate::fleet::{AWS_ACCOUNT, OFFICE_OUTSIDE};
use crate::world::{Habit, MS, SECOND, World};
use crate::{SimEvent, Source};

/// Weights out of all sources' together, about 10,000.
pub(crate) const HABITS: &[(u32, Habit)] = &[
    (160, deploy_role),
    (250, application),
    (200, monitoring),
    (25, console),
    (60, engineer),
    (4, key_rotation),
    (6, infrastructure),
];

/// Who makes a call.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Caller<'a> {
    /// A user with keys of their own.
    User(&'a str),
    /// A role and the name of its session.
    Role(&'a str, &'a str),
}

impl Caller<'_> {
    /// The identifier, which is the same for the same name.
    fn id(self, prefix: &str) -> String {
        let name = match self {
            Caller::User(name) | Caller::Role(name, _) => name,
        };
        let seed =
            name.bytes().fold(7_u64, |seed, byte| seed.wrapping_mul(131).wrapping_add(byte.into()));
        let mut rng = fastrand::Rng::with_seed(seed);
        (0..16).fold(prefix.to_owned(), |mut id, _| {
            id.push(rng.uppercase());
            id
        })
    }

    fn identity(self, at: Timestamp) -> Value {
        match self {
            Caller::User(name) => json!({
                "type": "IAMUser",
                "principalId": self.id("AIDA"),
                "arn": format!("arn:aws:iam::{AWS_ACCOUNT}:user/{name}"),
                "accountId": AWS_ACCOUNT,
                "accessKeyId": self.id("AKIA"),
                "userName": name,
            }),
            Caller::Role(role, session) => json!({
                "type": "AssumedRole",
                "principalId": format!("{}:{session}", self.id("AROA")),
                "arn": format!("arn:aws:sts::{AWS_ACCOUNT}:assumed-role/{role}/{session}"),
                "accountId": AWS_ACCOUNT,
                "accessKeyId": self.id("ASIA"),
                "sessionContext": {
                    "sessionIssuer": {
                        "type": "Role",
                        "principalId": self.id("AROA"),
                        "arn": format!("arn:aws:iam::{AWS_ACCOUNT}:role/{role}"),
                        "accountId": AWS_ACCOUNT,
                        "userName": role,
                    },
                    "attributes": {
                        "creationDate": time(at.plus_nanos(-600 * SECOND)),
                        "mfaAuthenticated": "false",
                    },
                },
            }),
        }
    }
}

/// A call and its outcome.
#[derive(Debug, Clone)]
pub(crate) struct Call<'a> {
    pub(crate) caller: Caller<'a>,
    pub(crate) service: &'a str,
    pub(crate) name: &'a str,
    pub(crate) address: &'a str,
    pub(crate) agent: &'a str,
    pub(crate) request: Value,
    pub(crate) response: Value,
    /// Refused for lack of rights.
    pub(crate) denied: bool,
}

const REGION: &str = "eu-west-1";

fn time(at: Timestamp) -> String {
    at.to_jiff().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Writes the record of a call.
pub(crate) fn call(world: &mut World, at: Timestamp, call: Call<'_>) {
    let Call { caller, service, name, address, agent, request, response, denied } = call;
    // These services are global, and their records are of this region.
    let region = if service == "iam" || service == "signin" { "us-east-1" } else { REGION };
    let reads =
        ["Get", "List", "Describe", "Head", "Lookup"].iter().any(|verb| name.starts_with(verb));
    let mut record = json!({
        "eventVersion": "1.10",
        "userIdentity": caller.identity(at),
        "eventTime": time(at),
        "eventSource": format!("{service}.amazonaws.com"),
        "eventName": name,
        "awsRegion": region,
        "sourceIPAddress": address,
        "userAgent": agent,
        "requestParameters": request,
        "responseElements": response,
        "requestID": world.uuid(),
        "eventID": world.uuid(),
        "readOnly": reads,
        "eventType": if service == "signin" { "AwsConsoleSignIn" } else { "AwsApiCall" },
        "managementEvent": true,
        "recipientAccountId": AWS_ACCOUNT,
        "eventCategory": "Management",
        "tlsDetails": {
            "tlsVersion": "TLSv1.3",
            "cipherSuite": "TLS_AES_128_GCM_SHA256",
            "clientProvidedHostHeader": format!("{service}.{region}.amazonaws.com"),
        },
    });
    if denied {
        record["errorCode"] = json!("AccessDenied");
        record["errorMessage"] = json!(format!(
            "User is not authorized to perform: {service}:{name} because no identity-based policy allows the {service}:{name} action"
        ));
        record["responseElements"] = Value::Null;
    }
    if service == "signin" {
        record["additionalEventData"] = json!({ "LoginTo": "https://console.aws.amazon.com/console/home", "MobileVersion": "No", "MFAUsed": "Yes" });
    }
    world.emit(SimEvent {
        time: at,
        source: Source::Aws,
        dataset: "aws.cloudtrail",
        host: AWS_ACCOUNT.to_owned(),
        payload: record.to_string().into_bytes(),
    });
}

const CLI: &str =
    "aws-cli/2.17.40 md/awscrt#0.21.2 ua/2.0 os/linux#6.8.0 md/arch#x86_64 lang/python#3.11.9";
const SDK: &str = "aws-sdk-rust/1.3.4 ua/2.0 api/s3 os/linux lang/rust/1.80.1";
const CONSOLE: &str = "AWS Internal";

/// The pipeline takes its role and brings out a version.
fn deploy_role(world: &mut World, at: Timestamp) {
    let session = format!("build-{}", world.rng.u32(2_000..9_000));
    let caller = Caller::Role("shop-deploy", &session);
    let base = Call {
        caller: Caller::User("ci-runner"),
        service: "sts",
        name: "AssumeRole",
        address: OFFICE_OUTSIDE,
        agent: CLI,
        request: json!({ "roleArn": format!("arn:aws:iam::{AWS_ACCOUNT}:role/shop-deploy"), "roleSessionName": session, "durationSeconds": 900 }),
        response: json!({ "assumedRoleUser": { "arn": format!("arn:aws:sts::{AWS_ACCOUNT}:assumed-role/shop-deploy/{session}") } }),
        denied: false,
    };
    call(world, at, base.clone());
    let steps: [(&str, &str, Value); 4] = [
        ("ecr", "GetAuthorizationToken", Value::Null),
        ("ecr", "PutImage", json!({ "repositoryName": "shop", "imageTag": session })),
        (
            "ecs",
            "UpdateService",
            json!({ "cluster": "shop", "service": "web", "forceNewDeployment": true }),
        ),
        ("s3", "PutBucketPolicy", json!({ "bucketName": "shop-assets-example", "policy": "" })),
    ];
    let last = if world.once_in(20) { 4 } else { 3 };
    for (step, (service, name, request)) in (1_i64..).zip(steps.into_iter().take(last)) {
        let at = at.plus_nanos(step * 800 * MS);
        call(
            world,
            at,
            Call { caller, service, name, request, response: Value::Null, ..base.clone() },
        );
    }
}

/// The application reads its secrets and keys.
fn application(world: &mut World, at: Timestamp) {
    let session = format!("i-0{}", world.hex(16));
    let (service, name, request) = match world.rng.u32(0..4) {
        0 => ("secretsmanager", "GetSecretValue", json!({ "secretId": "shop/database" })),
        1 => ("ssm", "GetParameter", json!({ "name": "/shop/flags", "withDecryption": true })),
        _ => ("kms", "Decrypt", json!({ "encryptionAlgorithm": "SYMMETRIC_DEFAULT" })),
    };
    let one = Call {
        caller: Caller::Role("shop-server", &session),
        service,
        name,
        address: "10.40.1.17",
        agent: SDK,
        request,
        response: Value::Null,
        denied: false,
    };
    call(world, at, one);
}

/// A monitoring service asks for the state of everything; one of its rights is missing.
fn monitoring(world: &mut World, at: Timestamp) {
    let calls = [
        ("ec2", "DescribeInstances"),
        ("rds", "DescribeDBInstances"),
        ("ecs", "ListServices"),
        ("cloudtrail", "GetTrailStatus"),
        ("cloudtrail", "DescribeTrails"),
        ("iam", "ListUsers"),
        ("s3", "GetBucketLogging"),
    ];
    let (service, name) = world.one_of(&calls);
    let one = Call {
        caller: Caller::Role("monitoring", "watcher"),
        service,
        name,
        address: "10.40.1.90",
        agent: SDK,
        request: json!({ "maxResults": 100 }),
        response: Value::Null,
        denied: name == "GetBucketLogging",
    };
    call(world, at, one);
}

/// Somebody signs in at the console, with a second factor.
fn console(world: &mut World, at: Timestamp) {
    let name = world.one_of(&["petra", "sven", "samir"]);
    let base = Call {
        caller: Caller::User(name),
        service: "signin",
        name: "ConsoleLogin",
        address: OFFICE_OUTSIDE,
        agent: "Mozilla/5.0 (X11; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0",
        request: Value::Null,
        response: json!({ "ConsoleLogin": "Success" }),
        denied: false,
    };
    call(world, at, base.clone());
    let at = at.plus_nanos(2 * SECOND);
    let list = Call {
        service: "ec2",
        name: "DescribeInstances",
        agent: CONSOLE,
        response: Value::Null,
        ..base
    };
    call(world, at, list);
}

/// An engineer at the command line.
fn engineer(world: &mut World, at: Timestamp) {
    let name = world.one_of(&["petra", "sven", "samir"]);
    let (service, action, request) = match world.rng.u32(0..5) {
        0 => ("logs", "FilterLogEvents", json!({ "logGroupName": "/shop/web" })),
        1 => ("sts", "GetCallerIdentity", Value::Null),
        2 => (
            "ec2",
            "AuthorizeSecurityGroupIngress",
            json!({
                "groupId": "sg-0a1b2c3d4e5f60718",
                "ipPermissions": { "items": [{ "ipProtocol": "tcp", "fromPort": 443, "toPort": 443,
                    "ipRanges": { "items": [{ "cidrIp": "0.0.0.0/0" }] } }] },
            }),
        ),
        3 => ("cloudtrail", "LookupEvents", json!({ "maxResults": 50 })),
        _ => ("s3", "ListBuckets", Value::Null),
    };
    let one = Call {
        caller: Caller::User(name),
        service,
        name: action,
        address: OFFICE_OUTSIDE,
        agent: CLI,
        request,
        response: Value::Null,
        denied: false,
    };
    call(world, at, one);
}

/// Somebody changes their own key, as they should, or that of a service, which looks like an
/// intruder's way to stay.
fn key_rotation(world: &mut World, at: Timestamp) {
    let name = world.one_of(&["petra", "sven", "samir"]);
    let owner = if world.once_in(20) { "svc-reporting" } else { name };
    let base = Call {
        caller: Caller::User(name),
        service: "iam",
        name: "CreateAccessKey",
        address: OFFICE_OUTSIDE,
        agent: CLI,
        request: json!({ "userName": owner }),
        response: json!({ "accessKey": { "userName": owner, "status": "Active", "accessKeyId": format!("AKIA{}", world.hex(16).to_uppercase()) } }),
        denied: false,
    };
    call(world, at, base.clone());
    let at = at.plus_nanos(20 * SECOND);
    call(world, at, Call { name: "DeleteAccessKey", response: Value::Null, ..base });
}

/// The infrastructure's own tool sets things to what is written in its files.
fn infrastructure(world: &mut World, at: Timestamp) {
    let session = format!("apply-{}", world.rng.u32(100..900));
    let base = Call {
        caller: Caller::Role("infrastructure", &session),
        service: "cloudtrail",
        name: "StartLogging",
        address: OFFICE_OUTSIDE,
        agent: "APN/1.0 HashiCorp/1.0 Terraform/1.9.5",
        request: json!({ "name": "organisation-trail" }),
        response: Value::Null,
        denied: false,
    };
    call(world, at, base.clone());
    let attach = Call {
        service: "iam",
        name: "AttachRolePolicy",
        request: json!({ "roleName": "shop-server", "policyArn": format!("arn:aws:iam::{AWS_ACCOUNT}:policy/shop-read") }),
        ..base
    };
    call(world, at.plus_nanos(SECOND), attach);
}
