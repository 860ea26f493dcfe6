//! smoke

use harness::certificates::Authority;
use harness::claim::prove;
use harness::cluster::Cluster;
use harness::image::{Family, Image};
use harness::registry::{Login, Registry};

#[test]
fn registry_serves_what_was_pushed() {
    prove(async {
        let authority = Authority::new()?;
        let login = Login::new("pusher")?;
        for mut registry in [
            Registry::open().await?,
            Registry::with_logins(vec![login.clone()]).await?,
            Registry::with_tls(&authority, vec![login]).await?,
        ] {
            for image in
                [Image::small()?, Image::two_platforms(Family::Docker)?, Image::two_platforms(Family::Oci)?]
            {
                registry.push(&image, "a/b", "t").await?;
                registry.holds(&image, "a/b", "t").await?;
                registry.holds(&image, "a/b", &image.digest).await?;
                registry.restart().await?;
                registry.holds(&image, "a/b", "t").await?;
            }
            assert!(registry.manifest("a/c", "t").await?.is_none());
        }
        Ok(())
    });
}

#[test]
fn cluster_stores_pods() {
    prove(async {
        let cluster = Cluster::start().await?;
        cluster.namespace("a").await?;
        println!("{}", cluster.create(&serde_json::json!({"apiVersion":"v1","kind":"Pod","metadata":{"name":"x","namespace":"a"},"spec":{"containers":[{"name":"a","image":"b"}]}})).await?);
        println!("{:?}", cluster.audit()?);
        Ok(())
    });
}
