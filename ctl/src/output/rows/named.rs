//! Docker's names for the fields of rows, as its `--format` has them.

use proto::v1;
use serde_json::{Value, json};

use super::{ContainerRow, Row, SizedContainerRow, UsageRow, VolumeRow};
use crate::output::shape::Named;

impl Named for ContainerRow {
    fn fields(&self) -> Vec<(&'static str, &'static str, Value)> {
        let mut cells = self.cells().into_iter().map(Value::String);
        let mut cell = || cells.next().unwrap_or_default();
        let mut fields = vec![
            ("ID", "CONTAINER ID", cell()),
            ("Image", "IMAGE", cell()),
            ("Command", "COMMAND", cell()),
            ("RunningFor", "CREATED", cell()),
            ("Status", "STATUS", cell()),
            ("Ports", "PORTS", cell()),
            ("Names", "NAMES", cell()),
        ];
        fields.extend(self.further_fields());
        fields
    }
}

impl Named for SizedContainerRow {
    fn fields(&self) -> Vec<(&'static str, &'static str, Value)> {
        let mut fields = self.0.fields();
        fields.retain(|(name, ..)| *name != "Size");
        fields.push(("Size", "SIZE", self.cells().pop().unwrap_or_default().into()));
        fields
    }
}

impl Named for UsageRow {
    fn fields(&self) -> Vec<(&'static str, &'static str, Value)> {
        let names = ["ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs"];
        let cells = self.cells().into_iter().map(Value::String);
        let mut fields: Vec<_> = names
            .into_iter()
            .zip(Self::headings())
            .zip(cells)
            .map(|((name, head), cell)| (name, head, cell))
            .collect();
        let name = fields.get(1).map(|(.., name)| name.clone()).unwrap_or_default();
        fields.push(("Container", "CONTAINER", name));
        fields
    }
}

impl Named for VolumeRow {
    fn fields(&self) -> Vec<(&'static str, &'static str, Value)> {
        let own = serde_json::to_value(self).unwrap_or_default();
        let of = |key: &str| own.get(key).cloned().unwrap_or_default();
        let labels = of("labels");
        vec![
            ("Name", "VOLUME NAME", of("name")),
            ("Driver", "DRIVER", of("driver")),
            ("Scope", "SCOPE", "local".into()),
            ("Mountpoint", "MOUNTPOINT", of("mountpoint")),
            ("Labels", "LABELS", listed(&labels).into()),
            ("Label", "LABEL", labels),
        ]
    }
}

/// `key=value,...`
pub(super) fn listed(labels: &Value) -> String {
    let pairs = labels.as_object().into_iter().flatten();
    let pairs = pairs.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()));
    pairs.collect::<Vec<_>>().join(",")
}

/// An event as Docker's `--format '{{json .}}'` prints it.
pub fn event(event: &v1::Event) -> Value {
    let seconds = event.at_ns / 1_000_000_000;
    let mut told = json!({
        "Type": event.r#type,
        "Action": event.action,
        "Actor": {"ID": event.actor, "Attributes": event.attributes},
        "scope": "local",
        "time": seconds,
        "timeNano": event.at_ns,
    });
    // The names that these had before there were other objects than containers.
    if matches!(event.r#type.as_str(), "container" | "image")
        && let Some(fields) = told.as_object_mut()
    {
        fields.insert("status".to_owned(), event.action.clone().into());
        fields.insert("id".to_owned(), event.actor.clone().into());
        if event.r#type == "container" {
            fields.insert("from".to_owned(), event.attributes.get("image").cloned().into());
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value_of<R: Named>(row: &R, name: &str) -> Value {
        let found = row.fields().into_iter().find(|(known, ..)| *known == name);
        found.map(|(.., value)| value).unwrap_or_default()
    }

    #[test]
    fn a_container_has_dockers_fields() {
        let container = v1::Container {
            id: "f".repeat(64),
            name: "web".to_owned(),
            image: "app:1".to_owned(),
            state: "running".to_owned(),
            labels: [("part".to_owned(), "db".to_owned()), ("a".to_owned(), "1".to_owned())].into(),
            mounts: vec![v1::Mount { source: "data".to_owned(), ..Default::default() }],
            ..v1::Container::default()
        };
        let row = ContainerRow::new(&container, false);
        for (name, expected) in [
            ("ID", "ffffffffffff"),
            ("Names", "web"),
            ("Image", "app:1"),
            ("State", "running"),
            ("Labels", "a=1,part=db"),
            ("Mounts", "data"),
        ] {
            assert_eq!(value_of(&row, name), expected, "{name}");
        }
        assert_eq!(value_of(&row, "Label")["part"], "db");
    }

    #[test]
    fn an_event_has_dockers_fields() {
        let told = event(&v1::Event {
            at_ns: 5_000_000_007,
            r#type: "container".to_owned(),
            action: "die".to_owned(),
            actor: "abc".to_owned(),
            attributes: [("image".to_owned(), "app".to_owned())].into(),
            ..Default::default()
        });
        assert_eq!((&told["time"], &told["timeNano"]), (&5.into(), &5_000_000_007_u64.into()));
        assert_eq!(
            (&told["Actor"]["ID"], &told["from"], &told["status"]),
            (&"abc".into(), &"app".into(), &"die".into())
        );
        assert!(
            event(&v1::Event { r#type: "volume".to_owned(), ..Default::default() }).get("status").is_none()
        );
    }
}
