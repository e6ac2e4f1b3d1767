//! States of a queue pair.

use lab::base::role::Role;

use crate::lesson::figures::LessonFigures;
use crate::lesson::plot::Plot;
use crate::lesson::seen::Seen;
use crate::lesson::vocabulary::{LadderPart, LadderStart, Lesson, LessonClaim, LessonRun, rule};

/// States that a node's queue pair was brought into, in their order, as its program logged them.
fn states(seen: &Seen, role: Role) -> Result<Vec<String>, String> {
    let [_, log] = seen.run("by_hand")?.said(role);
    let lines = log.lines().filter_map(|line| line.split_once("ibv_modify_qp: qp ")?.1.split_once(" to "));
    let states: Vec<String> = lines.map(|(_, state)| state.trim().to_owned()).collect();
    if states.is_empty() { Err(format!("{role} logged no state")) } else { Ok(states) }
}

/// Statuses of a node's completions, in their order.
fn statuses(seen: &Seen, role: Role) -> Result<Vec<String>, String> {
    let completions = seen.run("by_hand")?.completions(role);
    Ok(completions.iter().map(|one| one["status"].as_str().unwrap_or("?").to_owned()).collect())
}

pub(crate) const LESSON: Lesson = Lesson {
    name: "states",
    title: "States of a queue pair",
    question: "Through which states does a queue pair go, and what can it do in each?",
    before: &[
        "A queue pair is made in the state RESET and does nothing. The program, or RDMA CM for it, moves it on by `ibv_modify_qp`: INIT, \
         where RECVs may be posted; RTR, ready to receive, for which it must know its peer and the PSN, packet sequence number, that it \
         expects; RTS, ready to send. \
         In the state ERR everything that is posted comes back at once, *flushed*.",
        "Both programs make the connection by hand (`--no-cm`): they tell each other queue pair number, first PSN, address and key over a TCP \
         connection. They log each step (`-v`). The server posts four RECVs and the client writes \
         once with an immediate, then leaves.",
    ],
    runs: &[LessonRun {
        name: "by_hand",
        server: "rdma_server_imm --once --no-cm --count 4 --json -v",
        client: "rdma_client_imm {server} --no-cm --ack-timeout 18 --json -v",
        options: &["--server-exit", "4"],
    }],
    ladder: LadderPart { run: "by_hand", connection: 0, from: LadderStart::First, limit: 4 },
    figures: |seen| {
        let mut rows = Vec::new();
        for role in [Role::Client, Role::Server] {
            rows.push(vec![
                role.name().to_owned(),
                states(seen, role)?.join(", "),
                statuses(seen, role)?.join(", "),
            ]);
        }
        let counts = |status: &str| -> Result<Vec<f64>, String> {
            let of = |role| Ok(statuses(seen, role)?.iter().filter(|one| *one == status).count() as f64);
            [Role::Client, Role::Server].into_iter().map(of).collect()
        };
        let plot =
            Plot::bars("Completions by status", ["client", "server"].map(str::to_owned), "completions")
                .heights("SUCCESS", counts("SUCCESS")?)
                .heights("WR_FLUSH_ERR", counts("WR_FLUSH_ERR")?);
        Ok(LessonFigures::default()
            .table(&["side", "brought into", "statuses of its completions"], rows)
            .plot(plot))
    },
    claims: &[
        LessonClaim {
            says: "Both queue pairs go from INIT to RTR to RTS, in this order.",
            check: |seen| {
                let [client, server] = [states(seen, Role::Client)?, states(seen, Role::Server)?];
                let begins =
                    |states: &[String]| states.get(..3).is_some_and(|first| first == ["INIT", "RTR", "RTS"]);
                rule(
                    begins(&client) && begins(&server),
                    format!("client {}; server {}", client.join(", "), server.join(", ")),
                )
            },
        },
        LessonClaim {
            says: "At the end both are brought into ERR.",
            check: |seen| {
                let last = [states(seen, Role::Client)?, states(seen, Role::Server)?]
                    .map(|states| states.last().cloned().unwrap_or_default());
                rule(last == ["ERR", "ERR"], format!("last: {}", last.join(", ")))
            },
        },
        LessonClaim {
            says: "What is still posted then comes back flushed: of four RECVs one is a success, three are WR_FLUSH_ERR.",
            check: |seen| {
                let statuses = statuses(seen, Role::Server)?;
                let expected = ["SUCCESS", "WR_FLUSH_ERR", "WR_FLUSH_ERR", "WR_FLUSH_ERR"];
                rule(statuses == expected, statuses.join(", "))
            },
        },
        LessonClaim {
            says: "None of these steps is on the wire: it has the WRITE and its acknowledgement, and nothing else of RoCE.",
            check: |seen| {
                let packets = seen.run("by_hand")?.sent().count();
                rule(packets == 2, format!("{packets} packets"))
            },
        },
    ],
    answer: &[
        "RESET, INIT, RTR, RTS: the program supplies what each step needs, and RDMA CM only does the same on its behalf, with the numbers \
         from REQ and REP. A side that is RTR already answers; that is why the passive side may be a step behind.",
        "Any fatal error moves the queue pair to ERR by itself. Nothing is lost in silence there: each work request that was posted completes, \
         with WR_FLUSH_ERR if it was never done, so that its memory can be freed. From ERR the way leads only back to RESET.",
    ],
};
