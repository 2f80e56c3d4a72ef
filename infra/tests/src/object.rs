//! Rendered objects, and functions that read and change them.

use serde_json::{Map, Value};

static NOTHING: Value = Value::Null;

/// One Kubernetes object.
#[derive(Debug, Clone)]
pub struct Object(pub Value);

impl Object {
    /// The value at this JSON pointer; null if there is none.
    pub fn at(&self, pointer: &str) -> &Value {
        at(&self.0, pointer)
    }

    pub fn kind(&self) -> &str {
        text(self.at("/kind"))
    }

    pub fn name(&self) -> &str {
        text(self.at("/metadata/name"))
    }
}

/// The value at this JSON pointer; null if there is none.
pub fn at<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    value.pointer(pointer).unwrap_or(&NOTHING)
}

/// The text; empty if it is no text.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The elements; none if it is no list.
pub fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Whether `labels` has all of `wanted`; an empty `wanted` matches nothing.
pub fn selects(wanted: &Value, labels: &Value) -> bool {
    let wanted = wanted.as_object().filter(|wanted| !wanted.is_empty());
    wanted.is_some_and(|wanted| wanted.iter().all(|(key, value)| labels.get(key) == Some(value)))
}

/// A quantity as Kubernetes writes it (`100m`, `2`, `64Mi`), in thousandths; `None` for other notations.
pub fn quantity(value: &Value) -> Option<u64> {
    if let Some(whole) = value.as_u64() {
        return whole.checked_mul(1000);
    }
    let text = text(value);
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let thousandths = match unit {
        "m" => 1,
        "" => 1000,
        "Ki" => 1000 << 10,
        "Mi" => 1000 << 20,
        "Gi" => 1000 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(thousandths)
}

/// Everything that one rendering would create in a cluster.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// The overlay, or `base` with its components: `base+hpa`.
    pub name: String,
    pub components: Vec<&'static str>,
    pub objects: Vec<Object>,
}

impl Cluster {
    /// Parses kustomize's output.
    pub fn parse(name: &str, components: Vec<&'static str>, yaml: &str) -> Self {
        let objects: Vec<Value> = serde_saphyr::from_multiple(yaml)
            .unwrap_or_else(|error| panic!("{name}: what kustomize writes is no YAML: {error}"));
        Self { name: name.to_owned(), components, objects: objects.into_iter().map(Object).collect() }
    }

    pub fn has(&self, component: &str) -> bool {
        self.components.contains(&component)
    }

    /// Whether it is the production's overlay, or built on it.
    pub fn is_production(&self) -> bool {
        self.name == "production" || self.name.starts_with("scale")
    }

    pub fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Object> {
        self.objects.iter().filter(move |object| object.kind() == kind)
    }

    pub fn find(&self, kind: &str, name: &str) -> Option<&Object> {
        self.objects.iter().find(|object| object.kind() == kind && object.name() == name)
    }

    /// All objects that create pods.
    pub fn workloads(&self) -> impl Iterator<Item = Workload<'_>> {
        const KINDS: [&str; 5] = ["Deployment", "StatefulSet", "DaemonSet", "Job", "Pod"];
        self.objects.iter().filter(|object| KINDS.contains(&object.kind())).map(Workload)
    }

    /// The workloads whose pods have all of these labels.
    pub fn selected<'a>(&'a self, labels: &'a Value) -> impl Iterator<Item = Workload<'a>> {
        self.workloads().filter(move |workload| selects(labels, workload.labels()))
    }

    /// Whether an autoscaler sets the number of this workload's pods.
    pub fn is_scaled(&self, workload: Workload<'_>) -> bool {
        self.of_kind("HorizontalPodAutoscaler")
            .any(|scaler| text(scaler.at("/spec/scaleTargetRef/name")) == workload.0.name())
    }

    /// A copy that differs in one place; null removes the field.
    pub fn with(&self, kind: &str, name: &str, pointer: &str, value: Value) -> Self {
        let mut broken = self.clone();
        let object = broken.objects.iter_mut().find(|o| o.kind() == kind && o.name() == name);
        let object = object.unwrap_or_else(|| panic!("{} has no {kind} {name}", self.name));
        set(&mut object.0, pointer, value);
        broken
    }

    /// A copy without one object.
    pub fn without(&self, kind: &str, name: &str) -> Self {
        let mut fewer = self.clone();
        fewer.objects.retain(|object| object.kind() != kind || object.name() != name);
        assert_eq!(fewer.objects.len() + 1, self.objects.len(), "there is one {kind} {name}");
        fewer
    }
}

/// Sets the value at the pointer; `-` at its end appends to a list, null removes. `=NAME` in it is the element of a list
/// with this name.
pub fn set(object: &mut Value, pointer: &str, value: Value) {
    let pointer = &numbered(object, pointer);
    let (parent, last) = pointer.rsplit_once('/').expect("a pointer begins with a slash");
    let last = last.replace("~1", "/");
    match object.pointer_mut(parent) {
        Some(Value::Array(items)) => match last.parse::<usize>() {
            Ok(index) if value.is_null() => drop(items.remove(index)),
            Ok(index) => items[index] = value,
            Err(_) => items.push(value),
        },
        Some(Value::Object(fields)) if value.is_null() => {
            assert!(fields.remove(&last).is_some(), "nothing to remove at {pointer}");
        }
        Some(Value::Object(fields)) => drop(fields.insert(last, value)),
        other => panic!("nothing to change at {parent}: {other:?}"),
    }
}

/// The pointer, with numbers in place of names.
fn numbered(object: &Value, pointer: &str) -> String {
    pointer.split('/').skip(1).fold(String::new(), |before, part| match part.strip_prefix('=') {
        Some(name) => {
            let index = list(at(object, &before)).position(|element| text(at(element, "/name")) == name);
            format!("{before}/{}", index.unwrap_or_else(|| panic!("no {name} in {before}")))
        }
        None => format!("{before}/{part}"),
    })
}

/// An object that creates pods, or a Pod itself.
#[derive(Debug, Clone, Copy)]
pub struct Workload<'a>(pub &'a Object);

impl<'a> Workload<'a> {
    fn under_template(self, pointer: &str) -> &'a Value {
        let template = if self.0.kind() == "Pod" { "" } else { "/spec/template" };
        self.0.at(&format!("{template}{pointer}"))
    }

    /// The spec of its pods.
    pub fn pod(self) -> &'a Value {
        self.under_template("/spec")
    }

    /// Of its pods.
    pub fn labels(self) -> &'a Value {
        self.under_template("/metadata/labels")
    }

    /// Of its pods.
    pub fn annotations(self) -> &'a Value {
        self.under_template("/metadata/annotations")
    }

    /// The containers of a pod, its init containers included.
    pub fn containers(self) -> impl Iterator<Item = &'a Value> {
        list(at(self.pod(), "/initContainers")).chain(list(at(self.pod(), "/containers")))
    }

    /// The number of a container's port, found by name or by number.
    pub fn port(self, port: &Value) -> Option<u64> {
        let mut ports = self.containers().flat_map(|container| list(at(container, "/ports")));
        match port {
            Value::String(name) => {
                ports.find(|p| text(at(p, "/name")) == name)?.get("containerPort")?.as_u64()
            }
            number => ports.find_map(|p| p.get("containerPort").filter(|n| *n == number))?.as_u64(),
        }
    }

    /// The claims that its pods mount.
    pub fn claims(self) -> impl Iterator<Item = &'a str> {
        list(at(self.pod(), "/volumes"))
            .filter_map(|v| v.pointer("/persistentVolumeClaim/claimName")?.as_str())
    }

    /// The claims that are made for each of its pods.
    pub fn own_claims(self) -> impl Iterator<Item = &'a Value> {
        list(self.0.at("/spec/volumeClaimTemplates"))
    }

    /// The name of its first pod, if pods have fixed names.
    pub fn first_pod(self) -> Option<String> {
        (self.0.kind() == "StatefulSet").then(|| format!("{}-0", self.0.name()))
    }

    /// Name and value of the variables that are no secrets, as the first pod gets them: `$(NAME)` stands for the value of a
    /// variable that comes before.
    pub fn settings(self) -> Vec<(&'a str, String)> {
        let mut known: Vec<(&str, String)> = Vec::new();
        for variable in self.variables() {
            let field = variable.get("valueFrom").and_then(|from| from.pointer("/fieldRef/fieldPath"));
            let pod = field.filter(|field| *field == "metadata.name").and_then(|_| self.first_pod());
            let value = variable.get("value").and_then(Value::as_str).map(|value| {
                known
                    .iter()
                    .fold(value.to_owned(), |text, (name, value)| text.replace(&format!("$({name})"), value))
            });
            if let (Some(name), Some(value)) = (variable.get("name").and_then(Value::as_str), value.or(pod)) {
                known.push((name, value));
            }
        }
        known
    }

    /// The value of a variable that is no secret.
    pub fn setting(self, name: &str) -> Option<String> {
        self.settings().into_iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    pub fn variables(self) -> impl Iterator<Item = &'a Map<String, Value>> {
        self.containers().flat_map(|c| list(at(c, "/env"))).filter_map(Value::as_object)
    }
}
