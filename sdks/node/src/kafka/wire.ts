/** What the brokers' answers look like: the types of the client's calls, of whichever version is spoken. */

import type {
  describeGroupsV5,
  fetchV17,
  findCoordinatorV6,
  joinGroupV9,
  listOffsetsV9,
  offsetFetchV9,
  produceV11,
  syncGroupV5,
} from "@platformatic/kafka";

type AnswerOf<M extends { api: { async: (...args: never[]) => Promise<unknown> } }> = Awaited<
  ReturnType<M["api"]["async"]>
>;

export type DescribeGroupsAnswer = AnswerOf<typeof describeGroupsV5>;
export type FetchAnswer = AnswerOf<typeof fetchV17>;
export type FetchedPartition = FetchAnswer["responses"][number]["partitions"][number];
export type FindCoordinatorAnswer = AnswerOf<typeof findCoordinatorV6>;
export type JoinGroupAnswer = AnswerOf<typeof joinGroupV9>;
export type ListOffsetsAnswer = AnswerOf<typeof listOffsetsV9>;
export type OffsetFetchAnswer = AnswerOf<typeof offsetFetchV9>;
export type ProduceAnswer = AnswerOf<typeof produceV11>;
export type SyncGroupAnswer = AnswerOf<typeof syncGroupV5>;
