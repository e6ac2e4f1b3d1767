/*
 * A peer in C for the programs of src/bin: the two classic samples as somebody else would write them, over librdmacm's
 * synchronous calls. It shares nothing with the Rust programs but the contract of src/private_data.rs.
 * As in the classic samples flow_control is 0, and in the second both sides disconnect once they have their completion.
 *
 *     peer write|imm server
 *     peer write|imm client SERVER [unread]
 *
 * It has two faults that tests look for: the server of the first sample takes a connection for one that stands whatever event comes
 * first, and waits for ever where that was the disconnect; with `unread` the client does not look at what it read.
 */
#include <arpa/inet.h>
#include <endian.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rdma/rdma_cma.h>
#include <rdma/rdma_verbs.h>

#define DEMAND(condition) \
	do { if (!(condition)) { perror(#condition); exit(1); } } while (0)

enum { REGION_BYTES = 4096 };

struct region {
	uint64_t address;
	uint32_t rkey;
} __attribute__((packed));

static char memory[REGION_BYTES];
static struct rdma_conn_param parameters = {
	.responder_resources = 1, .initiator_depth = 1, .retry_count = 7, .rnr_retry_count = 7,
};

static struct rdma_cm_id *endpoint(const char *host, int with_imm, int is_server)
{
	struct rdma_addrinfo hints = { .ai_flags = is_server ? RAI_PASSIVE : 0, .ai_port_space = RDMA_PS_TCP }, *found;
	struct ibv_qp_init_attr queue_pair = {
		.cap = { .max_send_wr = 2, .max_recv_wr = 2, .max_send_sge = 1, .max_recv_sge = 1 }, .qp_type = IBV_QPT_RC, .sq_sig_all = 1,
	};
	struct rdma_cm_id *id;

	DEMAND(!rdma_getaddrinfo(host, with_imm ? "7472" : "7471", &hints, &found));
	DEMAND(!rdma_create_ep(&id, found, NULL, &queue_pair));
	rdma_freeaddrinfo(found);
	return id;
}

static void finish(struct rdma_cm_id *id, struct ibv_send_wr *request)
{
	struct ibv_send_wr *bad;
	struct ibv_wc completion;

	DEMAND(!ibv_post_send(id->qp, request, &bad));
	DEMAND(rdma_get_send_comp(id, &completion) == 1 && completion.status == IBV_WC_SUCCESS);
}

static void serve(int with_imm)
{
	struct rdma_cm_id *listening = endpoint(NULL, with_imm, 1), *id;
	struct rdma_cm_event *event;
	struct ibv_wc completion;
	struct ibv_mr *registered;
	struct region mine;

	strcpy(memory, "server-initial");
	DEMAND(!rdma_listen(listening, 1));
	DEMAND(!rdma_get_request(listening, &id));
	registered = ibv_reg_mr(id->pd, memory, sizeof(memory), IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ);
	DEMAND(registered);
	if (with_imm)
		DEMAND(!rdma_post_recv(id, NULL, memory, sizeof(memory), registered));
	mine = (struct region){ htobe64((uintptr_t)memory), htonl(registered->rkey) };
	parameters.private_data = &mine;
	parameters.private_data_len = sizeof(mine);
	DEMAND(!rdma_accept(id, &parameters));
	if (with_imm) {
		DEMAND(rdma_get_recv_comp(id, &completion) == 1 && completion.status == IBV_WC_SUCCESS);
		DEMAND(completion.opcode == IBV_WC_RECV_RDMA_WITH_IMM && ntohl(completion.imm_data) == strlen(memory) + 1);
	}
	if (!with_imm) {
		DEMAND(!rdma_get_cm_event(id->channel, &event) && event->event == RDMA_CM_EVENT_DISCONNECTED);
		rdma_ack_cm_event(event);
	}
	rdma_disconnect(id);
	DEMAND(!strcmp(memory, with_imm ? "client-wrote-with-imm" : "client-wrote-this"));
	printf("received \"%s\"\n", memory);
}

static void call(const char *host, int with_imm, int is_unread)
{
	struct rdma_cm_id *id = endpoint(host, with_imm, 0);
	struct ibv_mr *registered = ibv_reg_mr(id->pd, memory, sizeof(memory), IBV_ACCESS_LOCAL_WRITE);
	const char *text = with_imm ? "client-wrote-with-imm" : "client-wrote-this";
	struct ibv_sge part = { .addr = (uintptr_t)memory, .length = strlen(text) + 1 };
	struct ibv_send_wr request = { .sg_list = &part, .num_sge = 1 };
	struct region theirs;

	DEMAND(registered);
	DEMAND(!rdma_connect(id, &parameters));
	DEMAND(id->event->param.conn.private_data_len >= sizeof(theirs));
	memcpy(&theirs, id->event->param.conn.private_data, sizeof(theirs));
	part.lkey = registered->lkey;
	request.wr.rdma.remote_addr = be64toh(theirs.address);
	request.wr.rdma.rkey = ntohl(theirs.rkey);

	strcpy(memory, text);
	request.opcode = with_imm ? IBV_WR_RDMA_WRITE_WITH_IMM : IBV_WR_RDMA_WRITE;
	request.imm_data = htonl(part.length);
	finish(id, &request);
	if (!with_imm) {
		memset(memory, 0, sizeof(memory));
		part.length = sizeof(memory);
		request.opcode = IBV_WR_RDMA_READ;
		finish(id, &request);
		DEMAND(is_unread || !strcmp(memory, text));
	}
	rdma_disconnect(id);
	printf("wrote \"%s\"\n", text);
}

int main(int count, char **words)
{
	int with_imm = count > 1 && !strcmp(words[1], "imm");

	if (count == 3 && !strcmp(words[2], "server"))
		serve(with_imm);
	else if (count >= 4 && !strcmp(words[2], "client"))
		call(words[3], with_imm, count == 5);
	else
		return 2;
	return 0;
}
