//! What can be known of the deployment without a cluster.
//!
//! - [`render`]: the manifests as kustomize puts them together: every overlay, and every set of components.
//! - [`object`]: what has been rendered, as something that can be asked.
//! - [`policy`]: what has to be true of it, whatever it is for. Each says what it finds, in a line each.
//! - [`repository`]: what else the manifests must agree with: `skaffold.yaml`, Dockerfiles, the architecture's list.
//! - [`skaffold`]: what has to be true of `skaffold.yaml`.
//! - [`tools`]: programs of others that validate; where one is missing, its checks are skipped with a word.

pub mod object;
pub mod policy;
pub mod render;
pub mod repository;
pub mod skaffold;
pub mod tools;
