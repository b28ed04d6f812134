//! Values that are wrong must be refused, in words that name the place and what would be right.

use anyhow::Result;

use super::Helm;

/// A setting, and what its refusal must say.
const REFUSED: [(&str, &[&str]); 19] = [
    (
        "controler.replicas=2",
        &["additional properties 'controler' not allowed"],
    ),
    (
        "controller.replica=2",
        &["'/controller'", "'replica' not allowed"],
    ),
    (
        "controller.replicas=two",
        &["'/controller/replicas'", "got string, want integer"],
    ),
    ("controller.replicas=0", &["'/controller/replicas'", "want 1"]),
    (
        "controller.resources.limits.memory=lots",
        &["'/controller/resources/limits/memory'", "'lots'"],
    ),
    (
        "controller.resources.limits.memory=null",
        &["'/controller/resources/limits'", "missing property 'memory'"],
    ),
    (
        "controller.podLabels.tsutsumi\\.dev/canary=x",
        &["controller.podLabels", "leave it out"],
    ),
    (
        "crds.install=maybe",
        &["'/crds/install'", "got string, want boolean"],
    ),
    (
        "enforce.enabled=null",
        &["'/enforce'", "missing property 'enabled'"],
    ),
    (
        "image.pullPolicy=Sometimes",
        &["'/image/pullPolicy'", "'Always', 'IfNotPresent', 'Never'"],
    ),
    (
        "networkPolicy.apiServer.ports=null",
        &["'/networkPolicy/apiServer'", "missing property 'ports'"],
    ),
    (
        "networkPolicy.apiServer.ports={0}",
        &["'/networkPolicy/apiServer/ports/0'", "want 1"],
    ),
    (
        "waysAround.close.enabled=true,waysAround.close.namespaces={kube-system}",
        &["waysAround.close.namespaces", "leave out kube-system"],
    ),
    (
        "waysAround.close.namespaces={Town}",
        &["'/waysAround/close/namespaces/0'", "does not match pattern"],
    ),
    ("targets=null", &["missing property 'targets'"]),
    (
        "targets[0].namespace=kube-system",
        &["'/targets/0'", "missing properties 'configMaps'"],
    ),
    (
        "vantages[0].name=o,vantages[0].address=a.example,vantages[0].port=1",
        &["'/vantages/0/address'", "'a.example'"],
    ),
    (
        "probeZone.outside.address=a.example",
        &["'/probeZone/outside/address'", "'a.example'"],
    ),
    (
        "vantages[0].address=192.0.2.1",
        &["'/vantages/0'", "missing properties 'name', 'port'"],
    ),
];

/// Wrong settings that Helm takes, or refuses in other words.
pub(super) fn problems(helm: &Helm) -> Result<Vec<String>> {
    // Rendering works at all: otherwise every refusal below would prove nothing.
    helm.template(&["--set", "controller.replicas=2"])?;
    Ok(REFUSED
        .iter()
        .filter_map(|(setting, words)| judge(setting, words, helm.template(&["--set", setting])))
        .collect())
}

fn judge(setting: &str, words: &[&str], outcome: Result<String>) -> Option<String> {
    match outcome {
        Ok(_) => Some(format!("--set {setting} is taken")),
        Err(error) => {
            let said = format!("{error:#}");
            let missing = words.iter().find(|word| !said.contains(**word))?;
            Some(format!("--set {setting} is refused without `{missing}`: {said}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    #[test]
    fn a_refusal_must_come_and_must_say_why() {
        assert_eq!(judge("a=1", &["'/a'"], Err(anyhow!("at '/a': got string"))), None);
        assert!(judge("a=1", &["'/a'"], Ok(String::new())).is_some_and(|text| text.ends_with("is taken")));
        assert!(
            judge("a=1", &["'/a'"], Err(anyhow!("no"))).is_some_and(|text| text.contains("without `'/a'`"))
        );
    }
}
