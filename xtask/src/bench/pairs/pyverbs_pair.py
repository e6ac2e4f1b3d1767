#!/usr/bin/env python3
"""A reliable connection by pyverbs: parameters over TCP, then an RDMA WRITE and a SEND to the server, and a SEND back.

Without an argument it is the server, which serves one client; the client is told the server's address."""

import json
import socket
import sys
import time

import pyverbs.enums as e
from pyverbs.addr import GID, AHAttr, GlobalRoute
from pyverbs.cq import CQ
from pyverbs.device import Context
from pyverbs.mr import MR
from pyverbs.pd import PD
from pyverbs.qp import QP, QPAttr, QPCap, QPInitAttr
from pyverbs.wr import SGE, RecvWR, SendWR

PORT = 18520
GID_INDEX = 1
LENGTH = 64
LIMIT_S = 10


def completion(cq, what):
    """Waits for one completion, and demands that it is a success."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        count, completions = cq.poll()
        if count:
            if completions[0].status != e.IBV_WC_SUCCESS:
                sys.exit(f"{what}: completion with status {completions[0].status}")
            return
    sys.exit(f"{what}: no completion in {LIMIT_S} s")


def exchange(connection, own):
    """Sends the own parameters as a line, and reads the peer's."""
    connection.sendall((json.dumps(own) + "\n").encode())
    return json.loads(connection.makefile().readline())


def main():
    context = Context(name="rxe0")
    pd, cq = PD(context), CQ(context, 16)
    mr = MR(pd, LENGTH, e.IBV_ACCESS_LOCAL_WRITE | e.IBV_ACCESS_REMOTE_WRITE)
    cap = QPCap(max_send_wr=4, max_recv_wr=4, max_send_sge=1, max_recv_sge=1)
    attr = QPAttr(port_num=1)
    attr.qp_access_flags = e.IBV_ACCESS_REMOTE_WRITE
    qp = QP(pd, QPInitAttr(qp_type=e.IBV_QPT_RC, scq=cq, rcq=cq, cap=cap, sq_sig_all=1), attr)
    qp.post_recv(RecvWR(num_sge=1, sg=[SGE(mr.buf, LENGTH, mr.lkey)]))

    is_server = len(sys.argv) == 1
    if is_server:
        with socket.create_server(("", PORT)) as listener:
            connection, _ = listener.accept()
    else:
        connection = socket.create_connection((sys.argv[1], PORT), LIMIT_S)
    own = {"qpn": qp.qp_num, "gid": str(context.query_gid(1, GID_INDEX)), "va": mr.buf, "rkey": mr.rkey}
    peer = exchange(connection, own)

    attr.path_mtu = e.IBV_MTU_1024
    attr.dest_qp_num = peer["qpn"]
    attr.rq_psn = attr.sq_psn = 0x1000
    attr.max_rd_atomic = attr.max_dest_rd_atomic = 1
    attr.min_rnr_timer = 12
    attr.timeout, attr.retry_cnt, attr.rnr_retry = 19, 7, 7
    route = GlobalRoute(dgid=GID(peer["gid"]), sgid_index=GID_INDEX)
    attr.ah_attr = AHAttr(port_num=1, is_global=1, gr=route)
    qp.to_rts(attr)
    exchange(connection, {"ready": True})

    def send(opcode, remote=None):
        work = SendWR(num_sge=1, sg=[SGE(mr.buf, LENGTH, mr.lkey)], opcode=opcode)
        if remote:
            work.set_wr_rdma(remote["rkey"], remote["va"])
        qp.post_send(work)
        completion(cq, "request")

    if is_server:
        completion(cq, "the client's SEND")
        if mr.read(5, 0) != b"hello":
            sys.exit("the client's text did not arrive")
        send(e.IBV_WR_SEND)
    else:
        mr.write(b"hello", 5)
        send(e.IBV_WR_RDMA_WRITE, peer)
        send(e.IBV_WR_SEND)
        completion(cq, "the server's SEND")
    exchange(connection, {"done": True})
    print("done")


main()
