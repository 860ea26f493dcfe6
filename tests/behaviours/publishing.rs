//! Row A6: publish pushes the image of its version, by either path and either name.

use anyhow::ensure;
use harness::claim::prove;
use harness::image::Image;
use harness::scene::Scene;
use reqwest::Method;
use serde_json::json;

#[test]
fn publish_puts_its_version_there_by_both_paths_and_both_names() {
    prove(async {
        let scene = Scene::start().await?;
        let (drayage, algorithm) = (&scene.drayage, &scene.algorithm);
        let references = [&algorithm.reference, &algorithm.id];
        let calls = references.map(|reference| ["version", "versions"].map(|call| (reference, call)));
        for (number, (reference, call)) in calls.iter().flatten().enumerate() {
            let (image, tag) = (Image::small()?, format!("build-{number}"));
            scene.source.push(&image, &algorithm.repository(), &tag).await?;
            let hash = drayage.compile(algorithm, &json!({"commitSha": tag})).await?;
            let body = json!({
                "version_info": {"version_type": "minor", "release_notes": "", "sample_input": "7"},
                "details": {}, "settings": {},
                "registry_push_credentials": scene.own_credentials(),
            });
            let path = format!("/v1/algorithms/{reference}/{call}");
            let answer = drayage.call(Method::POST, &path, &algorithm.key, Some(&body)).await?;
            let published = answer.expect(200)?;
            ensure!(published["version_info"]["git_hash"] == hash, "{published}");
            let number = format!("0.{}.0", number + 1);
            ensure!(published["version_info"]["semantic_version"] == number, "{published}");
            drayage.pushed(algorithm, &hash, &scene.registry).await?;
            scene.enterprise.holds(&image, &scene.repository(), &hash).await?;

            let repeated = drayage.call(Method::POST, &path, &algorithm.key, Some(&body)).await?;
            ensure!(repeated.json()["error"]["code"] == 1007, "{}", repeated.text);
        }
        Ok(())
    });
}
