//! The providers of machines that others own, on the stand-in and on its nodes: what they do, what they mend, what
//! they refuse by name.
//!
//! Needs what `cargo xtask doctor` lists; `cargo xtask ci --every-trap` runs it as
//! `cargo test -p multipass-stand-in --test providers -- --ignored --test-threads 1`.
//!
//! What breaks a naive provider, and the test that fails without its handling; `lab` is that package's unit tests,
//! without machines.
//!
//! | Multipass | test |
//! |---|---|
//! | `exec` runs a command that exits with 4 again and again; 1, 2, 5, 255 are the client's, too | `guests::every_call_is_one_that_multipass_takes_well` |
//! | `exec` without `-n`; `--mem`; files that the snap does not see; `launch` without `--timeout` | the same |
//! | a background child holds `exec`, a killed client leaves its command: servers and tcpdump run under systemd | `mended::both_examples_run_on_instances` |
//! | `exec` on a stopped instance starts it | `mended::instances_are_launched_used_and_mended` |
//! | … with a spinner before the output | `lab`: `remote::script::what_a_carrier_says_before_is_not_the_scripts` |
//! | `launch` times out before SSH is up: Unknown until `stop`, then `start` | `mended::launch_that_goes_wrong_is_looked_at_and_mended` |
//! | … at cloud-init; a guest that is not reached at once | `guests::every_call_is_one_that_multipass_takes_well` |
//! | cloud-init fails, or the instance is gone, and `launch` exits with 0 | `mended::launch_that_goes_wrong_is_looked_at_and_mended` |
//! | a first boot: no such instance, then Unknown; the name is taken; `lab up` is killed meanwhile | `killed::lab_up_that_was_killed_is_mended_by_the_next` |
//! | `stop` on an instance that boots blocks the daemon | the same; `lab`: `multipass::instance::every_state_is_mended_or_waited_for` |
//! | stopped, suspended, deleted and not purged, one of both missing, programs overwritten | `mended::instances_are_launched_used_and_mended` |
//! | of another release; both with one address | `mended::launch_that_goes_wrong_is_looked_at_and_mended` |
//! | `purge`, `restart`, `delete`, other people's instances | `Bench::assert_others_are_left_alone`, in most |
//! | `transfer` drops the end of a file, both ways; a failed pull leaves a file; a program that runs is not written over; what is pushed may not be run | `mended::instances_are_launched_used_and_mended` |
//! | a hung guest | the same; `recorded_cases::hung_guest_is_ended_by_force_and_blocks_nobody` |
//! | a full `info` fails on a busy guest; `exec` finds no connection in time | `recorded_cases::busy_guests_are_not_asked_for_their_state` |
//! | a first boot that takes longer than five minutes | `recorded_cases::first_boot_is_waited_for_as_long_as_its_launch_was_given` |
//! | what boots is not stopped by `lab down` | `recorded_cases::instance_that_boots_goes_on_running_and_that_is_said` |
//! | the daemon's log before a failure; no network, no proxy, image files, sizes | `recorded_cases::words_of_the_daemon_before_a_failure_are_not_its_cause` |
//! | sizes that are text | `recorded_cases::sizes_that_are_text_are_refused_before_multipass_is_asked` |
//! | a client without `--no-runtime-information` | `recorded_cases::old_client_is_asked_as_it_can_be` |
//! | a killed client leaves its command: `lab exec`, interrupted | `mended::interrupted_command_ends_there`, in the same |
//! | a call that never ends | `lab`: `command::limit_ends_the_whole_process_group`; no call is made without a limit |
//! | a blocked daemon; none, never one, no access, VirtualBox | `refused::daemon_that_cannot_be_used_is_named` |
//! | no KVM, no such image, no network, a size that is none or too small | `refused::launch_that_cannot_be_is_named` |
//! | no `multipassd` key and exit code 0 | `refused::usual_provider_is_multipass_where_its_daemon_answers` |
//! | types in JSON, unknown states; each failure by its name | `lab`: `multipass::client`, `multipass::failure` |
//! | a firewall; rdma_rxe in a package of its own, or gone | `guests::firewall_and_missing_modules_are_named_and_mended` |
//! | a device is there before `rdma link add` | `mended::both_examples_run_on_instances`: the second scenario |
//! | Windows's pipes, the zones of the next version | none: neither can be had here |
//!
//! | SSH | test |
//! |---|---|
//! | packages missing, no device and none may be made, a device or an address that the host has not, one address for both, a firewall, no sudo without a password | `ssh::what_is_wrong_with_hosts_is_named` |
//! | an agent with many keys, a host key that changed or is not known, a jump host in the user's configuration | `ssh::keys_are_checked_and_a_jump_host_is_used` |
//! | … which the lab's own machines do not use | `lab`: `qemu::ssh` |
//! | a scheduler that somebody chose, one that a killed run left | `netem::netem_makes_faults_and_leaves_nothing` |
//!
//! | both | test |
//! |---|---|
//! | tcpdump lost packets, or does not say; one MAC for both | `ssh::equal_macs_and_lost_packets_are_named` |
//! | cards that hide their packets and count none; a mirror's file without them | `ssh::cards_that_hide_their_packets_run_over_a_mirror_port` |
//! | … what else such a file may hold | `lab`: `remote::mirror` |
//! | several files in one transfer | `lab`: `remote::machine::files_of_one_transfer_arrive_as_they_were_or_not_at_all` |

mod bench;
mod guests;
mod killed;
mod mended;
mod netem;
mod recorded_cases;
mod refused;
mod ssh;
