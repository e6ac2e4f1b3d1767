//! The providers of machines that others own, on the stand-in and on its nodes: what they do, what they mend, what
//! they refuse by name.
//!
//! Needs what `cargo xtask doctor` lists; `cargo xtask ci --every-trap` runs it as
//! `cargo test -p multipass-stand-in --test providers -- --ignored --test-threads 1`.

//!
//! What breaks a naive provider of Multipass, and the test that fails without its handling:
//!
//! | trap | test |
//! |---|---|
//! | a remote exit code of 4 makes `exec` run the command for ever; 1, 2, 5, 255 are the client's, too | `guests::every_call_is_one_that_multipass_takes_well`, `mended::instances_are_launched_used_and_mended` |
//! | `exec` without `-n`, `--mem`, files that the snap does not see | `guests::every_call_is_one_that_multipass_takes_well` |
//! | a background child holds `exec`, a killed client leaves its command: servers and tcpdump under systemd | `mended::instances_are_launched_used_and_mended` |
//! | `exec` on a stopped instance starts it, its spinner comes before the output | `lab`: `remote::script::what_a_carrier_says_before_is_not_the_scripts` |
//! | `launch` times out before SSH is up: Unknown until `stop`, then `start` | `mended::launch_that_goes_wrong_is_looked_at_and_mended` |
//! | `launch` times out at cloud-init; cloud-init fails, and launch exits with 0 | `guests::every_call_…`, `mended::launch_that_goes_wrong_…` |
//! | launch exits with 0 and leaves no instance | `mended::launch_that_goes_wrong_is_looked_at_and_mended` |
//! | stopped, suspended, deleted and not purged, of another release | `mended::instances_are_launched_used_and_mended`, `mended::launch_that_goes_wrong_…` |
//! | no instance while the image is prepared, and the name is taken; then Unknown | `killed::lab_up_that_was_killed_is_mended_by_the_next` |
//! | `purge` and other people's instances | `Bench::assert_others_are_left_alone`, in most |
//! | `transfer` drops the end of a file; a failed pull leaves one behind | `mended::instances_are_launched_used_and_mended` |
//! | a hung guest, a blocked daemon | `mended::instances_…`, `refused::daemon_that_cannot_be_used_is_named` |
//! | no daemon, never one, no access, no KVM, no image, no network, a size, VirtualBox | `refused` |
//! | types in JSON, empty lists, `N/A`, unknown states; no `multipassd` key and exit code 0 | `lab`: `multipass::client`; `refused::usual_provider_is_multipass_where_its_daemon_answers` |
//! | no address yet; one address for both; a firewall; rdma_rxe in a package of its own, or gone | `guests`, `mended::launch_that_goes_wrong_…` |
//! | tcpdump lost packets | `lab`: `remote::capture` |
//! | Windows's pipes, the zones of the next version | none: neither can be had here |

mod bench;
mod guests;
mod killed;
mod mended;
mod refused;
mod ssh;
