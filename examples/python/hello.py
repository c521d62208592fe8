from workersdk import Worker

def main():
    worker = Worker()

    # Register handlers for specific actions
    worker.register("step1", lambda payload: f"Processed: {payload}")
    
    # Connects to Kafka and starts listening
    worker.start()

if __name__ == "__main__":
    main()
