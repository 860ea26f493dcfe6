//! The kinds of cert-manager that the manifests use, in as much as they use them, without the program
//! behind them: a test writes what it would.

use anyhow::Result;
use serde_json::{Value, json};

use super::Cluster;
use crate::claim::eventually;

impl Cluster {
    /// Has the API server know Issuers and Certificates, and refuse what their schema does not say.
    pub async fn know_cert_manager(&self) -> Result<()> {
        let text = || json!({"type": "string"});
        let key = json!({
            "algorithm": {"type": "string", "enum": ["RSA", "ECDSA", "Ed25519"]},
            "size": {"type": "integer"},
            "rotationPolicy": {"type": "string", "enum": ["Never", "Always"]},
            "encoding": {"type": "string", "enum": ["PKCS1", "PKCS8"]},
        });
        let certificate = json!({
            "secretName": text(),
            "commonName": text(),
            "dnsNames": {"type": "array", "items": text()},
            "duration": text(),
            "renewBefore": text(),
            "isCA": {"type": "boolean"},
            "privateKey": {"type": "object", "properties": key},
            "issuerRef": {"type": "object", "required": ["name"], "properties": {"kind": text(), "name": text()}},
        });
        let issuer = json!({
            "selfSigned": {"type": "object"},
            "ca": {"type": "object", "required": ["secretName"], "properties": {"secretName": text()}},
        });
        for (kind, required, properties) in
            [("Certificate", json!(["secretName", "issuerRef"]), certificate), ("Issuer", json!([]), issuer)]
        {
            self.create(&definition(kind, &required, &properties)).await?;
            let plural = format!("{}s.cert-manager.io", kind.to_lowercase());
            eventually("the kind", async || self.kubectl(&["get", &plural, "-A"]).await).await?;
        }
        Ok(())
    }
}

fn definition(kind: &str, required: &Value, properties: &Value) -> Value {
    let singular = kind.to_lowercase();
    let plural = format!("{singular}s");
    let mut spec = json!({"type": "object", "properties": properties});
    if required.as_array().is_some_and(|required| !required.is_empty()) {
        spec["required"] = required.clone();
    }
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.cert-manager.io")},
        "spec": {
            "group": "cert-manager.io",
            "scope": "Namespaced",
            "names": {"kind": kind, "singular": singular, "plural": plural},
            "versions": [{
                "name": "v1",
                "served": true,
                "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}},
            }],
        },
    })
}
