"""What is asked for -> what will be done."""
