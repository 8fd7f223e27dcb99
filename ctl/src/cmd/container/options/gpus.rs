//! `--gpus`, in Docker's notation, as the names that CDI specifications have for graphics processors.

/// The class of Nvidia's, which are meant where no driver is named.
const NVIDIA: &str = "nvidia.com/gpu";

/// Most of them: no host has more.
const MOST: u32 = 64;

/// Reads `all`, a number, or a list such as `device=0,driver=nvidia,capabilities=gpu`; answers CDI names.
pub(super) fn names(text: &str) -> Result<Vec<String>, String> {
    let wrong =
        || format!("{text:?} is none; expected all, a number, or device=ID, for example --gpus device=0");
    let (mut devices, mut class, mut count) = (Vec::new(), NVIDIA.to_owned(), None);
    let mut is_list = false;
    for field in fields(text) {
        match field.split_once('=') {
            Some((key, value)) => {
                is_list = false;
                match key {
                    "device" if !value.is_empty() => {
                        devices.push(value.to_owned());
                        is_list = true;
                    }
                    "count" => count = Some(value.to_owned()),
                    "driver" => class = class_of(value)?,
                    // A CDI specification gives a device whole, whatever part of its driver is asked for.
                    "capabilities" => {}
                    _ => return Err(wrong()),
                }
            }
            // What follows a device is one more, as in device=0,1.
            None if is_list && !field.is_empty() => devices.push(field),
            None if devices.is_empty() && count.is_none() && !field.is_empty() => count = Some(field),
            None => return Err(wrong()),
        }
    }
    match (count.as_deref(), devices.is_empty()) {
        (Some("all" | "-1"), true) => Ok(vec![format!("{class}=all")]),
        (Some(number), true) => match number.parse() {
            Ok(number @ 1..=MOST) => Ok((0..number).map(|index| format!("{class}={index}")).collect()),
            _ => Err(wrong()),
        },
        (None, false) => {
            // With the driver "cdi" devices have their whole names.
            let name = |device: &String| match class.is_empty() || device.contains('=') {
                true => device.clone(),
                false => format!("{class}={device}"),
            };
            Ok(devices.iter().map(name).collect())
        }
        _ => Err(wrong()),
    }
}

fn class_of(driver: &str) -> Result<String, String> {
    match driver {
        "nvidia" => Ok(NVIDIA.to_owned()),
        "amd" => Ok("amd.com/gpu".to_owned()),
        "cdi" => Ok(String::new()),
        other => Err(format!(
            "no driver {other:?} is known: take nvidia, amd or cdi, or --device VENDOR/CLASS=NAME"
        )),
    }
}

/// The fields between commas; Docker reads this as a line of CSV, so a field may be quoted as a whole.
fn fields(text: &str) -> Vec<String> {
    let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
    for letter in text.chars() {
        match letter {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            letter => field.push(letter),
        }
    }
    fields.push(field);
    // A quoted list of devices is several.
    let split = |field: String| match field.strip_prefix("device=") {
        Some(list) if list.contains(',') => {
            list.split(',').map(|device| format!("device={device}")).collect::<Vec<_>>()
        }
        _ => vec![field],
    };
    fields.into_iter().flat_map(split).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_writes_graphics_processors_in_several_ways() {
        let read = |text: &str| names(text).map(|names| names.join(" "));
        for (text, expected) in [
            ("all", "nvidia.com/gpu=all"),
            ("2", "nvidia.com/gpu=0 nvidia.com/gpu=1"),
            ("device=0", "nvidia.com/gpu=0"),
            ("device=0,2", "nvidia.com/gpu=0 nvidia.com/gpu=2"),
            ("\"device=0,2\"", "nvidia.com/gpu=0 nvidia.com/gpu=2"),
            ("device=GPU-3a23c669", "nvidia.com/gpu=GPU-3a23c669"),
            ("\"device=1\",\"capabilities=compute,utility\"", "nvidia.com/gpu=1"),
            ("count=1,driver=amd", "amd.com/gpu=0"),
            ("driver=cdi,device=vendor.com/class=name", "vendor.com/class=name"),
        ] {
            assert_eq!(read(text), Ok(expected.to_owned()), "{text}");
        }
        for bad in [
            "",
            "0",
            "x",
            "-2",
            "all,1",
            "device=",
            "driver=nvidia",
            "color=red",
            "driver=intel,count=1",
            "99999",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
