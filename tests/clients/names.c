// SPDX-License-Identifier: MIT
/* Asks for PREFIX-0.a.test and so on with getaddrinfo(3): COUNT names in each of THREADS threads. */
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static const char *prefix;
static int count, failed;

static void *ask(void *first)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
	char name[128];

	for (int i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "%s-%ld.a.test", prefix, (long)first * count + i);
		if (getaddrinfo(name, "80", &hints, &found))
			__atomic_fetch_add(&failed, 1, __ATOMIC_RELAXED);
		else
			freeaddrinfo(found);
	}
	return NULL;
}

int main(int words, char **word)
{
	pthread_t threads[64];
	int wanted = words == 4 ? atoi(word[3]) : 0;

	if (wanted < 1 || wanted > 64)
		return 2;
	prefix = word[1];
	count = atoi(word[2]);
	for (long i = 0; i < wanted; i++)
		if (pthread_create(&threads[i], NULL, ask, (void *)i))
			return 3;
	for (int i = 0; i < wanted; i++)
		pthread_join(threads[i], NULL);
	return !!failed;
}
