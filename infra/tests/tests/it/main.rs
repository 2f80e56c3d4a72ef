//! The manifests, `skaffold.yaml` and the Dockerfiles.

mod autoscaler;
mod broken;
mod documents;
mod files;
mod rendered;
mod schemas;
mod skaffold;
mod tools;
