//! One certificate authority and a certificate for each part of the control plane. The names decide what each may
//! do: Kubernetes reads the user from the common name and the groups from the organisation.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use serde_json::json;

use super::facts::{NODE, NodeAddresses};
use super::state::ROOT;

/// The authority and where everything lies.
pub(crate) struct Pki {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Pki {
    /// Makes the authority and all certificates and kubeconfigs.
    pub(crate) fn make(node: NodeAddresses) -> Result<Self> {
        let folder = Path::new(ROOT).join("pki");
        fs::create_dir_all(&folder).context("creating the folder of certificates")?;
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, "tsutsumi-rig");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        write(&folder.join("ca.crt"), &params.self_signed(&key)?.pem())?;
        write(&folder.join("ca.key"), &key.serialize_pem())?;
        let pki = Self {
            folder,
            issuer: Issuer::new(params, key),
        };
        let accounts = KeyPair::generate()?;
        write(&pki.path("sa.key"), &accounts.serialize_pem())?;
        write(&pki.path("sa.pub"), &accounts.public_key_pem())?;
        let mut addresses = vec![node.v4.to_string()];
        addresses.extend(node.v6.map(|v6| v6.to_string()));
        let with = |names: &[&str]| -> Vec<String> {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .chain(addresses.clone())
                .collect()
        };
        let server = with(&[
            "localhost",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
            "127.0.0.1",
            "10.96.0.1",
            "fd00:10:96::1",
        ]);
        pki.certificate("apiserver", "kube-apiserver", None, server)?;
        pki.certificate("front", "front-proxy-client", None, Vec::new())?;
        let node_name = format!("system:node:{NODE}");
        for (name, user, group, names) in [
            ("admin", "admin", Some("system:masters"), Vec::new()),
            (
                "controller-manager",
                "system:kube-controller-manager",
                None,
                Vec::new(),
            ),
            ("scheduler", "system:kube-scheduler", None, Vec::new()),
            ("proxy", "system:kube-proxy", None, Vec::new()),
            (
                "node",
                &node_name,
                Some("system:nodes"),
                with(&[NODE, "localhost", "127.0.0.1"]),
            ),
        ] {
            pki.certificate(name, user, group, names)?;
            pki.kubeconfig(name)?;
        }
        Ok(pki)
    }

    /// A file of the authority.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The kubeconfig of one part.
    pub(crate) fn kubeconfig_of(&self, name: &str) -> PathBuf {
        self.path(&format!("{name}.kubeconfig"))
    }

    fn certificate(&self, name: &str, user: &str, group: Option<&str>, names: Vec<String>) -> Result<()> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, user);
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        write(
            &self.path(&format!("{name}.crt")),
            &params.signed_by(&key, &self.issuer)?.pem(),
        )?;
        write(&self.path(&format!("{name}.key")), &key.serialize_pem())
    }

    /// JSON is YAML; the paths are absolute, so the file works from anywhere on this machine.
    fn kubeconfig(&self, name: &str) -> Result<()> {
        let user = json!({
            "client-certificate": self.path(&format!("{name}.crt")),
            "client-key": self.path(&format!("{name}.key")),
        });
        let cluster =
            json!({"server": "https://127.0.0.1:6443", "certificate-authority": self.path("ca.crt")});
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "rig", "cluster": cluster}],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": "rig", "context": {"cluster": "rig", "user": name}}],
            "current-context": "rig",
        });
        write(&self.kubeconfig_of(name), &serde_json::to_string_pretty(&config)?)
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = fs::OpenOptions::new();
    let file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path);
    std::io::Write::write_all(
        &mut file.with_context(|| format!("creating {}", path.display()))?,
        text.as_bytes(),
    )
    .with_context(|| format!("writing {}", path.display()))
}
