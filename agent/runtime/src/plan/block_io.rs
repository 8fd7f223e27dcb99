//! Weights and limits of disks, as the files of the host's cgroup version. Pure.

use oci_spec::runtime::{LinuxBlockIo, LinuxThrottleDevice};

use super::PlanError;
use super::step::HostStep;

/// The steps for `block`.
pub(crate) fn plan(block: &LinuxBlockIo, v1: bool) -> Result<Vec<HostStep>, PlanError> {
    let refuse =
        |field: &str, reason: &str| Err(PlanError::new(format!("linux.resources.blockIO.{field}"), reason));
    let mut steps = Vec::new();
    if block.leaf_weight().is_some() {
        return refuse("leafWeight", "no scheduler of Linux 5.0 or later has it");
    }
    if let Some(weight) = block.weight().filter(|weight| *weight > 0) {
        steps.push(set_weight(v1, weight, None)?);
    }
    for device in block.weight_device().as_deref().unwrap_or_default() {
        let number = (device.major(), device.minor());
        match device.weight() {
            Some(weight) => steps.push(set_weight(v1, weight, Some(number))?),
            None => return refuse("weightDevice", "without a weight"),
        }
    }
    let lists = [
        (block.throttle_read_bps_device(), "blkio.throttle.read_bps_device", "rbps"),
        (block.throttle_write_bps_device(), "blkio.throttle.write_bps_device", "wbps"),
        (block.throttle_read_iops_device(), "blkio.throttle.read_iops_device", "riops"),
        (block.throttle_write_iops_device(), "blkio.throttle.write_iops_device", "wiops"),
    ];
    for (devices, file, key) in lists {
        steps.extend(devices.iter().flatten().map(|device| throttle(device, v1, file, key)));
    }
    Ok(steps)
}

fn throttle(device: &LinuxThrottleDevice, v1: bool, file: &'static str, key: &str) -> HostStep {
    let (major, minor, rate) = (device.major(), device.minor(), device.rate());
    let (controller, file, value) = match v1 {
        true => ("blkio", file, format!("{major}:{minor} {rate}")),
        false => ("io", "io.max", format!("{major}:{minor} {key}={rate}")),
    };
    HostStep::SetLimit { controller, file, value, optional: false }
}

/// Which file there is depends on the scheduler that the kernel was built with.
fn set_weight(v1: bool, weight: u16, device: Option<(i64, i64)>) -> Result<HostStep, PlanError> {
    if !(10..=1000).contains(&weight) {
        return Err(PlanError::new("linux.resources.blockIO.weight", format!("{weight} is not 10 to 1000")));
    }
    let line = |weight: u32| match device {
        Some((major, minor)) => format!("{major}:{minor} {weight}"),
        None => weight.to_string(),
    };
    let same = line(weight.into());
    // The kernel's and runc's conversion of 10..1000 to 1..10000.
    let wide = line(1 + (u32::from(weight) - 10) * 9999 / 990);
    Ok(match (v1, device) {
        (true, None) => HostStep::SetEither {
            controller: "blkio",
            files: [("blkio.bfq.weight", same.clone()), ("blkio.weight", same)],
        },
        (true, Some(_)) => HostStep::SetEither {
            controller: "blkio",
            files: [("blkio.bfq.weight_device", same.clone()), ("blkio.weight_device", same)],
        },
        (false, _) => {
            HostStep::SetEither { controller: "io", files: [("io.bfq.weight", same), ("io.weight", wide)] }
        }
    })
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::{LinuxBlockIoBuilder, LinuxThrottleDeviceBuilder, LinuxWeightDeviceBuilder};

    use super::*;

    fn planned(v1: bool) -> Vec<String> {
        let throttled = |rate: u64| {
            let device = LinuxThrottleDeviceBuilder::default().major(8).minor(16).rate(rate).build();
            vec![device.expect("a device")]
        };
        let weighed = LinuxWeightDeviceBuilder::default().major(8).minor(0).weight(1000_u16).build();
        let block = LinuxBlockIoBuilder::default()
            .weight(500_u16)
            .weight_device(vec![weighed.expect("a device")])
            .throttle_read_bps_device(throttled(1_000_000))
            .throttle_write_bps_device(throttled(2_000_000))
            .throttle_read_iops_device(throttled(30))
            .throttle_write_iops_device(throttled(40))
            .build()
            .expect("limits");
        plan(&block, v1).expect("a plan").iter().map(ToString::to_string).collect()
    }

    #[test]
    fn disks_on_version_1() {
        expect_test::expect![[r#"
            [
                "set-limit blkio/blkio.bfq.weight 500 (or blkio/blkio.weight 500)",
                "set-limit blkio/blkio.bfq.weight_device 8:0 1000 (or blkio/blkio.weight_device 8:0 1000)",
                "set-limit blkio/blkio.throttle.read_bps_device 8:16 1000000",
                "set-limit blkio/blkio.throttle.write_bps_device 8:16 2000000",
                "set-limit blkio/blkio.throttle.read_iops_device 8:16 30",
                "set-limit blkio/blkio.throttle.write_iops_device 8:16 40",
            ]
        "#]]
        .assert_debug_eq(&planned(true));
    }

    #[test]
    fn disks_on_version_2() {
        expect_test::expect![[r#"
            [
                "set-limit io/io.bfq.weight 500 (or io/io.weight 4950)",
                "set-limit io/io.bfq.weight 8:0 1000 (or io/io.weight 8:0 10000)",
                "set-limit io/io.max 8:16 rbps=1000000",
                "set-limit io/io.max 8:16 wbps=2000000",
                "set-limit io/io.max 8:16 riops=30",
                "set-limit io/io.max 8:16 wiops=40",
            ]
        "#]]
        .assert_debug_eq(&planned(false));
    }

    #[test]
    fn a_weight_out_of_range_is_refused() {
        let block = LinuxBlockIoBuilder::default().weight(5_u16).build().expect("limits");
        assert!(plan(&block, true).is_err() && plan(&block, false).is_err());
    }
}
