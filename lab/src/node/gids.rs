//! GIDs of a node's RDMA devices.

/// GIDs in a row that are not in use, behind which a table is taken to be empty: rxe's has 1024, and each that is read takes a
/// software-emulated machine half a millisecond.
const GAP: u32 = 8;

/// Command that prints the GIDs in use at the ports of a device, or of each device for `*`: one a line, as in
/// `0000:0000:0000:0000:0000:ffff:c633:6401`. It starts no process, and says nothing of a device that is not there.
pub fn print(device: &str) -> String {
    format!(
        "for gids in /sys/class/infiniband/{device}/ports/*/gids; do\n\
         index=0 gap=0\n\
         while [ $gap -lt {GAP} ] && read -r gid <$gids/$index; do\n\
         case $gid in *[!0:]*) echo $gid; gap=0 ;; *) gap=$((gap + 1)) ;; esac\n\
         index=$((index + 1))\n\
         done 2>/dev/null\n\
         done"
    )
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;

    #[test]
    fn gids_in_use_are_printed_over_small_gaps() {
        let root = tempfile::tempdir().unwrap();
        let gids = root.path().join("rxe0/ports/1/gids");
        fs::create_dir_all(&gids).unwrap();
        let used = |index: u32| format!("fe80:0000:0000:0000:0000:0000:0000:000{index:x}");
        let zero = "0000:0000:0000:0000:0000:0000:0000:0000".to_owned();
        for index in 0..64 {
            let gid = if [0, 1, 9, 40].contains(&index) { used(index % 16) } else { zero.clone() };
            fs::write(gids.join(index.to_string()), gid + "\n").unwrap();
        }
        let print = |device: &str| {
            let script = print(device).replace("/sys/class/infiniband", root.path().to_str().unwrap());
            let output = Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stderr), "");
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let expected = format!("{}\n{}\n{}\n", used(0), used(1), used(9));
        assert_eq!(print("rxe0"), expected);
        assert_eq!(print("*"), expected);
        assert_eq!(print("mlx5_0"), "");
    }
}
