//! What can be tested of the deployment without a cluster.
//!
//! - [`render`]: the manifests as kustomize renders them: every overlay, and every set of components.
//! - [`object`]: rendered objects, and functions that read and change them.
//! - [`policy`]: what has to be true of every rendering, and the fault that each policy protects from.
//! - [`costs`]: what a rendering takes of a cluster.
//! - [`names`]: the Kubernetes names of the course.
//! - [`repository`]: the other files that must agree with the manifests.
//! - [`skaffold`]: what has to be true of `skaffold.yaml`.
//! - [`tools`]: kustomize and the validators; a test whose tool is missing is skipped, or fails if `CI` is set.

pub mod costs;
pub mod names;
pub mod object;
pub mod policy;
pub mod render;
pub mod repository;
pub mod skaffold;
pub mod tools;
