/* SPDX-License-Identifier: GPL-2.0-only */
/* Readers of sockets and packets: the addresses and ports of both ends. */
#ifndef KERNEL_SOCK_BPF_H
#define KERNEL_SOCK_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include "kernel/uapi.h"
#include "kernel/compat.bpf.h"

#define IPV6_OPTION_HEADERS 6 /* extension headers that are skipped in front of UDP or TCP */

/* Both ends of a connection or of a datagram; the process is at the local end. */
struct flow {
	__u8 local_address[16]; /* IPv4: in the first four bytes */
	__u8 remote_address[16];
	__be16 local_port;
	__be16 remote_port;
	__u16 family;
	__u16 protocol;
} __attribute__((aligned(8))); /* compared and hashed as words */

static __always_inline bool is_v4_mapped(const struct in6_addr *address)
{
	return !address->in6_u.u6_addr32[0] && !address->in6_u.u6_addr32[1] &&
	       address->in6_u.u6_addr32[2] == bpf_htonl(0xffff);
}

/* An IPv4 address that is mapped into IPv6 becomes one of four bytes. */
static __always_inline void address_unmap(__u8 *address)
{
	__u32 *words = (__u32 *)address;

	words[0] = words[3];
	words[1] = words[2] = words[3] = 0;
}

/* An IPv6 socket that is connected over IPv4 gives IPv4 addresses, as on the wire. */
static __always_inline void flow_of_v6_socket(struct flow *flow, struct sock *sk)
{
	bpf_core_read(flow->local_address, sizeof(flow->local_address),
		      &sk->__sk_common.skc_v6_rcv_saddr);
	bpf_core_read(flow->remote_address, sizeof(flow->remote_address),
		      &sk->__sk_common.skc_v6_daddr);
	if (!is_v4_mapped((void *)flow->remote_address))
		return;
	flow->family = AF_INET;
	address_unmap(flow->local_address);
	address_unmap(flow->remote_address);
}

/*
 * Both ends of a connected socket. The local port is read from inet_sport, because skc_num is 0
 * once the connection is closed.
 */
static __always_inline void flow_of_socket(struct flow *flow, struct sock *sk, __u16 protocol)
{
	__builtin_memset(flow, 0, sizeof(*flow));
	flow->family = KREAD(sk, __sk_common.skc_family);
	flow->protocol = protocol;
	flow->local_port = KREAD((struct inet_sock *)sk, inet_sport);
	flow->remote_port = KREAD(sk, __sk_common.skc_dport);
	if (flow->family == AF_INET) {
		*(__be32 *)flow->local_address = KREAD(sk, __sk_common.skc_rcv_saddr);
		*(__be32 *)flow->remote_address = KREAD(sk, __sk_common.skc_daddr);
	} else {
		flow_of_v6_socket(flow, sk);
	}
}

/* Addresses and ports in a packet's headers, in the order of the wire. */
struct packet {
	const struct in6_addr *source; /* IPv4: only the first word is valid */
	const struct in6_addr *destination;
	union {
		struct udphdr *udp;
		struct tcphdr *tcp;
	};
	__u16 family;
	__u16 protocol;
};

/* Returns whether a protocol is UDP or UDP-Lite, which share functions and headers. */
static __always_inline bool is_udp(__u16 protocol)
{
	return protocol == IPPROTO_UDP || protocol == IPPROTO_UDPLITE;
}

static __always_inline bool packet_parse_v4(struct packet *packet, void *data, void *end)
{
	struct iphdr *ip = data;

	if ((void *)(ip + 1) > end)
		return false;
	packet->family = AF_INET;
	packet->protocol = ip->protocol;
	packet->source = (void *)&ip->saddr;
	packet->destination = (void *)&ip->daddr;
	packet->udp = data + ip->ihl * 4;
	return true;
}

/* A fragment header stands in packets that came in one fragment: RFC 6946. */
static __always_inline bool is_ipv6_option(__u8 header)
{
	return header == IPPROTO_HOPOPTS || header == IPPROTO_ROUTING ||
	       header == IPPROTO_DSTOPTS || header == IPPROTO_FRAGMENT;
}

/* Bytes of an extension header. Of a fragment header the length is a reserved field. */
static __always_inline __u32 ipv6_option_size(__u8 header, const struct ipv6_opt_hdr *option)
{
	return header == IPPROTO_FRAGMENT ? 8 : (option->hdrlen + 1) * 8;
}

static __always_inline bool packet_parse_v6(struct packet *packet, void *data, void *end)
{
	struct ipv6hdr *ip = data;
	struct ipv6_opt_hdr *option = (void *)(ip + 1);
	__u8 header;
	__u32 size;

	if ((void *)(ip + 1) > end)
		return false;
	header = ip->nexthdr;
	for (int i = 0; i < IPV6_OPTION_HEADERS && is_ipv6_option(header); i++) {
		if ((void *)(option + 1) > end)
			return false;
		size = ipv6_option_size(header, option);
		header = option->nexthdr;
		option = (void *)option + size;
	}
	packet->family = AF_INET6;
	packet->protocol = header;
	packet->source = &ip->saddr;
	packet->destination = &ip->daddr;
	packet->udp = (void *)option;
	return true;
}

/*
 * Find protocol and both ends of a packet; returns false if it is not IP. The headers are in the
 * linear part, both when a socket sends and when the packet is about to be queued.
 */
static __always_inline bool packet_parse(struct packet *packet, struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

	if (skb->protocol == bpf_htons(ETH_P_IP))
		return packet_parse_v4(packet, data, end);
	if (skb->protocol == bpf_htons(ETH_P_IPV6))
		return packet_parse_v6(packet, data, end);
	return false;
}

/* The same of a datagram of UDP or UDP-Lite; returns false if it is none. */
static __always_inline bool packet_parse_udp(struct packet *packet, struct __sk_buff *skb)
{
	return packet_parse(packet, skb) && is_udp(packet->protocol) &&
	       (void *)(packet->udp + 1) <= (void *)(long)skb->data_end;
}

/* The same of a segment of TCP. */
static __always_inline bool packet_parse_tcp(struct packet *packet, struct __sk_buff *skb)
{
	return packet_parse(packet, skb) && packet->protocol == IPPROTO_TCP &&
	       (void *)(packet->tcp + 1) <= (void *)(long)skb->data_end;
}

static __always_inline void copy_address(__u8 *to, const struct in6_addr *from, __u16 family)
{
	__u32 *words = (__u32 *)to;

	words[0] = from->in6_u.u6_addr32[0];
	if (family == AF_INET)
		return;
	words[1] = from->in6_u.u6_addr32[1];
	words[2] = from->in6_u.u6_addr32[2];
	words[3] = from->in6_u.u6_addr32[3];
}

static __always_inline void flow_of_packet(struct flow *flow, const struct packet *packet,
					   bool sent)
{
	__builtin_memset(flow, 0, sizeof(*flow));
	flow->family = packet->family;
	flow->protocol = packet->protocol;
	copy_address(sent ? flow->local_address : flow->remote_address, packet->source,
		     packet->family);
	copy_address(sent ? flow->remote_address : flow->local_address, packet->destination,
		     packet->family);
	flow->local_port = sent ? packet->udp->source : packet->udp->dest;
	flow->remote_port = sent ? packet->udp->dest : packet->udp->source;
}

static __always_inline bool flow_is_equal(const struct flow *one, const struct flow *other)
{
	const __u64 *a = (const void *)one, *b = (const void *)other;

	return a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3] && a[4] == b[4];
}

/* The flow of a datagram that came to a socket of a protocol, from the datagram's headers. */
static __always_inline void flow_of_received(struct flow *flow, struct sk_buff *skb, __u16 protocol)
{
	void *head = KREAD(skb, head), *ip = head + KREAD(skb, network_header);
	struct udphdr *udp = head + KREAD(skb, transport_header);
	struct ipv6hdr v6;
	struct iphdr v4;

	__builtin_memset(flow, 0, sizeof(*flow));
	flow->protocol = protocol;
	flow->remote_port = KREAD(udp, source);
	flow->local_port = KREAD(udp, dest);
	if (KREAD(skb, protocol) == bpf_htons(ETH_P_IP)) {
		bpf_probe_read_kernel(&v4, sizeof(v4), ip);
		flow->family = AF_INET;
		copy_address(flow->remote_address, (void *)&v4.saddr, AF_INET);
		copy_address(flow->local_address, (void *)&v4.daddr, AF_INET);
	} else {
		bpf_probe_read_kernel(&v6, sizeof(v6), ip);
		flow->family = AF_INET6;
		copy_address(flow->remote_address, &v6.saddr, AF_INET6);
		copy_address(flow->local_address, &v6.daddr, AF_INET6);
	}
}

#endif /* KERNEL_SOCK_BPF_H */
