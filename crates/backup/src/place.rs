//! Where backups lie: a folder, or a bucket of a store that speaks S3.
//!
//! Both through `object_store`, whose calls are asynchronous; a backup is one thread that waits, so
//! they are waited for here. Access to a bucket is what the environment says, by the names that all
//! tools have for it (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT`, ...);
//! none of it is ever logged.

use std::collections::HashMap;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload, RetryConfig};

use crate::http::Ureq;

/// What the address of a bucket begins with.
const S3: &str = "s3://";

/// How often a request is tried again when the store does not answer or is busy.
const RETRIES_MAX: usize = 6;

/// For how long at most.
const RETRIES_TIME_MAX: Duration = Duration::from_secs(120);

/// A place that has backups, or shall have.
pub struct Place {
    name: String,
    prefix: Path,
    store: Arc<dyn ObjectStore>,
    runtime: tokio::runtime::Runtime,
}

/// Why a place does not answer.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// Its address.
    #[error("{address} is no place for backups: {problem}")]
    Address {
        /// What was given.
        address: String,
        /// What is wrong with it.
        problem: String,
    },
    /// It cannot be read or written.
    #[error("{place}: {doing} {what} failed: {problem}")]
    Store {
        /// The place.
        place: String,
        /// What was being done.
        doing: &'static str,
        /// With what.
        what: String,
        /// What was answered.
        problem: String,
    },
}

impl Place {
    /// A folder, which is made if it is not there, or `s3://bucket/prefix`.
    ///
    /// # Errors
    /// When the address is none, or the folder cannot be made.
    pub fn open(address: &str) -> Result<Place, PlaceError> {
        if address.contains('@') && address.contains("://") {
            // It is not repeated: what stands before an @ may be a secret.
            let problem = "keys are taken from the environment (AWS_ACCESS_KEY_ID, ...)".to_owned();
            return Err(PlaceError::Address { address: "an address with @".to_owned(), problem });
        }
        let wrong = |problem: String| PlaceError::Address { address: address.to_owned(), problem };
        let (store, prefix): (Arc<dyn ObjectStore>, _) = match address.strip_prefix(S3) {
            Some(rest) => {
                let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
                if bucket.is_empty() {
                    return Err(wrong("write s3://bucket/prefix".to_owned()));
                }
                let retry = RetryConfig {
                    max_retries: RETRIES_MAX,
                    retry_timeout: RETRIES_TIME_MAX,
                    ..RetryConfig::default()
                };
                let store = AmazonS3Builder::from_env()
                    .with_bucket_name(bucket)
                    .with_retry(retry)
                    .with_http_connector(Ureq)
                    .build()
                    .map_err(|error| wrong(error.to_string()))?;
                (Arc::new(store), prefix)
            }
            None if address.contains("://") => {
                return Err(wrong("write a folder, or s3://bucket/prefix".to_owned()));
            }
            None => {
                let folder = FilePath::new(address);
                std::fs::create_dir_all(folder).map_err(|error| wrong(error.to_string()))?;
                let store = LocalFileSystem::new_with_prefix(folder)
                    .map_err(|error| wrong(error.to_string()))?;
                (Arc::new(store.with_fsync(true)), "")
            }
        };
        let prefix = Path::parse(prefix).map_err(|error| wrong(error.to_string()))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| wrong(error.to_string()))?;
        Ok(Place { name: address.to_owned(), prefix, store, runtime })
    }

    /// Its address, as it was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn path(&self, object: &str) -> Path {
        self.prefix.parts().chain(Path::from(object).parts()).collect()
    }

    fn failed<'a>(
        &'a self,
        doing: &'static str,
        what: &'a str,
    ) -> impl FnOnce(object_store::Error) -> PlaceError + 'a {
        move |error| PlaceError::Store {
            place: self.name.clone(),
            doing,
            what: what.to_owned(),
            problem: error.to_string(),
        }
    }

    /// Stores an object, whole or not at all.
    pub(crate) fn put(&self, object: &str, bytes: Vec<u8>) -> Result<(), PlaceError> {
        let path = self.path(object);
        let put = self.store.put(&path, PutPayload::from(bytes));
        self.runtime.block_on(put).map(|_| ()).map_err(self.failed("storing", object))
    }

    /// Reads an object; `None` if there is none.
    pub(crate) fn get(&self, object: &str) -> Result<Option<Vec<u8>>, PlaceError> {
        let path = self.path(object);
        let read = async {
            match self.store.get(&path).await {
                Ok(found) => Ok(Some(found.bytes().await?.to_vec())),
                Err(object_store::Error::NotFound { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        };
        self.runtime.block_on(read).map_err(self.failed("reading", object))
    }

    /// Removes an object; it is no fault if there is none.
    pub(crate) fn delete(&self, object: &str) -> Result<(), PlaceError> {
        let path = self.path(object);
        match self.runtime.block_on(self.store.delete(&path)) {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed("removing", object)(error)),
        }
    }

    /// The names, below a folder, and sizes of all objects in it.
    pub(crate) fn list(&self, folder: &str) -> Result<HashMap<String, u64>, PlaceError> {
        let path = self.path(folder);
        let skipped = path.parts().count();
        let read = self.store.list(Some(&path)).try_fold(HashMap::new(), |mut all, object| {
            let below: Path = object.location.parts().skip(skipped).collect();
            all.insert(below.to_string(), object.size);
            std::future::ready(Ok(all))
        });
        self.runtime.block_on(read).map_err(self.failed("listing", folder))
    }
}
