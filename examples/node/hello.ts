import { Worker } from 'workersdk';

const worker = new Worker();

worker.register('step1', (payload: string) => {
    console.log('Handling step 1');
    return `Node processed: ${payload}`;
});

// Unique Group ID to avoid conflicts
worker.start("kafka:9092", "workflow-workers-node");
