// SPDX-License-Identifier: GPL-2.0-only
/*
 * DNS by UDP and TCP: questions that leave, and the answers that come to the sockets which asked.
 * Names are taken from the packets, so no program can show another name than the one it sent.
 * hooks/dns_datagram.bpf.h has UDP, hooks/dns_stream.bpf.h TCP. Record: dns_message.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include "kernel/uapi.h"
#include "kernel/sock.bpf.h"
#include "kernel/task.bpf.h"
#include "emit/wanted.bpf.h"
#include "hooks/dns_record.bpf.h"
#include "hooks/dns_datagram.bpf.h"
#include "hooks/dns_stream.bpf.h"

/*
 * A datagram leaves, in the context of the sender. It is a question if it goes to the DNS port, or
 * if the sender has named that port: NAT, as of the resolver in Docker, may have changed it since.
 */
SEC("?cgroup_skb/egress")
int dns_sent(struct __sk_buff *skb)
{
	struct bpf_sock *sk = dns_socket(skb);
	struct dns_asker *asker;
	struct packet packet;

	if (!sk)
		return 1;
	if (dns_is_stream(sk))
		dns_segment(skb, 0);
	if (!packet_parse_udp(&packet, skb) || packet.protocol != IPPROTO_UDP)
		return 1;
	if (packet.udp->dest != bpf_htons(DNS_PORT) && !dns_is_connected(sk)) {
		asker = sk->dst_port ? NULL : bpf_sk_storage_get(&dns_askers, sk, NULL, 0);
		if (!asker || !asker->is_named)
			return 1;
	}
	if (is_own_task(current_task()))
		return 1;
	DNS_FOR_EACH(skb, &packet, dns_question);
	return 1;
}

/* A datagram arrives, in softirq. It is an answer if it comes from the DNS port. */
SEC("?cgroup_skb/ingress")
int dns_arrived(struct __sk_buff *skb)
{
	struct bpf_sock *sk = dns_socket(skb);
	struct packet packet;

	if (!sk)
		return 1;
	if (dns_is_stream(sk))
		dns_segment(skb, 1);
	if (!packet_parse_udp(&packet, skb) || packet.protocol != IPPROTO_UDP)
		return 1;
	if (packet.udp->source == bpf_htons(DNS_PORT) || dns_is_connected(sk))
		DNS_FOR_EACH(skb, &packet, dns_answer);
	return 1;
}

SEC("?cgroup/sendmsg4")
int dns_addressed_v4(struct bpf_sock_addr *context)
{
	return dns_address(context);
}

SEC("?cgroup/sendmsg6")
int dns_addressed_v6(struct bpf_sock_addr *context)
{
	return dns_address(context);
}

SEC("?cgroup/connect4")
int dns_connected_v4(struct bpf_sock_addr *context)
{
	return dns_connect(context);
}

SEC("?cgroup/connect6")
int dns_connected_v6(struct bpf_sock_addr *context)
{
	return dns_connect(context);
}
