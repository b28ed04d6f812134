use super::*;

fn controller(extra: &[&str]) -> Result<ControllerArgs, String> {
    let fixed = [
        "tsutsumi",
        "controller",
        "--namespace",
        "dyke",
        "--pod-name",
        "dyke-0",
    ];
    let args = Args::try_parse_from(fixed.iter().chain(extra)).map_err(|problem| problem.to_string())?;
    match (args.problem(), args.command) {
        (None, Command::Controller(controller)) => Ok(*controller),
        (problem, _) => Err(problem.unwrap_or_default()),
    }
}

#[test]
fn vantages_are_addresses_under_names() {
    let args = controller(&[
        "--outside-vantage",
        "a=192.0.2.7:8443",
        "--outside-vantage",
        "b=[2001:db8::7]:1",
    ])
    .unwrap();
    let shown: Vec<_> = args.outside_vantages.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["a=192.0.2.7:8443", "b=[2001:db8::7]:1"]);
}

#[test]
fn a_bad_value_is_named_with_its_flag_and_a_right_form() {
    for (flag, value, right) in [
        (
            "--outside-vantage",
            "office=prober.example:8443",
            "office=192.0.2.7:8443",
        ),
        ("--outside-vantage", "192.0.2.7:8443", "office=192.0.2.7:8443"),
        ("--outside-vantage", "a=192.0.2.7:0", "port 0"),
        ("--prober-port", "0", "1 to 65535"),
        ("--admin-address", "8080", "0.0.0.0:8080"),
        ("--config-map", "coredns", "kube-system/coredns"),
        ("--target-namespace", "Kube_System", "tsutsumi-system"),
        ("--lease-name", "Lease", "tsutsumi-0"),
        ("--config-map", "coredns", "kube-system/coredns"),
        ("--cluster-domain", "cluster local", "labels may hold"),
    ] {
        let message = controller(&[flag, value]).unwrap_err();
        for part in [flag, value, right] {
            assert!(message.contains(part), "{part:?} is missing in {message}");
        }
    }
}

#[test]
fn what_the_charts_tests_and_hook_say_is_understood() {
    let parsed = |args: &[&str]| {
        Args::try_parse_from(args.iter().copied())
            .map(|args| args.command)
            .map_err(|problem| problem.to_string())
    };
    let check = [
        "tsutsumi",
        "healthcheck",
        "--address=fd00::7",
        "--port=8080",
        "--path=/readyz",
    ];
    let Ok(Command::Healthcheck(args)) = parsed(&check) else {
        panic!("{:?}", parsed(&check))
    };
    assert_eq!(args.address, IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, 7]));
    assert_eq!((args.port.get(), args.path.as_str()), (8080, "/readyz"));
    assert_eq!(args.wait, Duration::from_secs(60));
    let release = [
        "tsutsumi",
        "release",
        "--deployment=tsutsumi-controller",
        "--namespace=dyke",
    ];
    assert!(
        matches!(parsed(&release), Ok(Command::Release(_))),
        "{:?}",
        parsed(&release)
    );
    for (flag, right) in [
        ("--address=$(TSUTSUMI_METRICS_SERVICE_HOST)", "192.0.2.7"),
        ("--path=readyz", "/readyz"),
        ("--wait=60", "60s"),
        ("--wait=0s", "60s"),
    ] {
        let message = parsed(&["tsutsumi", "healthcheck", flag]).unwrap_err();
        assert!(message.contains(right), "{right:?} is missing in {message}");
    }
}

#[test]
fn a_vantage_name_is_used_once() {
    let message = controller(&["--outside-vantage", "a=192.0.2.7:1,a=192.0.2.8:1"]).unwrap_err();
    assert!(message.contains("used twice"), "{message}");
}

#[test]
fn a_probe_zone_takes_what_the_chart_says_and_names_what_it_cannot_take() {
    let zone = |extra: &[&str]| {
        let all = ["tsutsumi", "probe-zone"].iter().chain(extra);
        Args::try_parse_from(all)
            .map(|args| args.command)
            .map_err(|problem| problem.to_string())
    };
    let taken = zone(&[
        "--zone=probe.tsutsumi.test",
        "--listen=[::]:1053",
        "--control=[::]:8443",
        "--admin-address=[::]:8080",
        "--tls-dir=/var/run/tsutsumi/tls",
        "--key-dir=/var/run/tsutsumi/keys",
        "--allow=10.0.0.0/8",
        "--allow=fd00::/8",
    ]);
    let Ok(Command::ProbeZone(args)) = taken else {
        panic!("{taken:?}");
    };
    assert_eq!(args.listen.port(), 1053);
    assert_eq!(args.allow.len(), 2);
    let long = format!("--zone={}test", "a.".repeat(80));
    for (value, parts) in [
        ("--allow=10.0.0.1/8", ["--allow", "10.0.0.1/8", "10.0.0.0/8"]),
        ("--allow=cluster", ["--allow", "cluster", "10.0.0.0/8"]),
        ("--listen=5353", ["--listen", "5353", "0.0.0.0:8080"]),
        ("--zone=a b", ["--zone", "a b", "labels may hold"]),
        (&long, ["--zone", "164 octets", "probe.tsutsumi.test"]),
    ] {
        let message = zone(&[value]).unwrap_err();
        for part in parts {
            assert!(message.contains(part), "{part:?} is missing in {message}");
        }
    }
    let message = zone(&[]).unwrap_err();
    assert!(message.contains("--allow"), "{message}");
}

#[test]
fn the_side_process_of_unbound_takes_a_socket_and_a_port() {
    let side = |extra: &[&str]| {
        let all = ["tsutsumi", "unbound-metrics"].iter().chain(extra);
        Args::try_parse_from(all)
            .map(|args| args.command)
            .map_err(|problem| problem.to_string())
    };
    let taken = side(&["--socket=/run/ub/control.sock", "--admin-address=[::]:8081"]);
    let Ok(Command::UnboundMetrics(args)) = taken else {
        panic!("{taken:?}");
    };
    assert_eq!(args.socket.to_string(), "/run/ub/control.sock");
    assert_eq!(args.admin_address.port(), 8081);
    let long = format!("--socket=/{}", "x".repeat(107));
    for (value, parts) in [
        (
            "--socket=control.sock",
            ["--socket", "absolute path", "/var/run/unbound/control.sock"],
        ),
        (&long, ["--socket", "107 bytes", "/var/run/unbound/control.sock"]),
        (
            "--admin-address=8080",
            ["--admin-address", "8080", "0.0.0.0:8080"],
        ),
    ] {
        let message = side(&[value]).unwrap_err();
        for part in parts {
            assert!(message.contains(part), "{part:?} is missing in {message}");
        }
    }
}
