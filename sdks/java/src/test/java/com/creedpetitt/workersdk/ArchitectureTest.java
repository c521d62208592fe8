package com.creedpetitt.workersdk;

import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.classes;
import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.noClasses;
import static com.tngtech.archunit.library.dependencies.SlicesRuleDefinition.slices;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.creedpetitt.workersdk.internal.Version;
import com.tngtech.archunit.core.domain.JavaClasses;
import com.tngtech.archunit.core.importer.ClassFileImporter;
import com.tngtech.archunit.core.importer.ImportOption;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;

/** The layers: what people use, what it does, and what it speaks. */
class ArchitectureTest {
    private static final String ROOT = "com.creedpetitt.workersdk";

    private final JavaClasses all = new ClassFileImporter()
            .withImportOption(new ImportOption.DoNotIncludeTests())
            .importPackages(ROOT);

    @Test
    void theWorkKnowsNothingOfWhatIsSpoken() {
        noClasses()
                .that()
                .resideInAPackage(ROOT + ".internal.work..")
                .should()
                .dependOnClassesThat()
                .resideInAnyPackage(ROOT + ".internal.http..", ROOT + ".internal.kafka..", "java.net..", "org.apache..")
                .check(all);
    }

    @Test
    void theTwoWaysToSpeakKnowNothingOfEachOther() {
        noClasses()
                .that()
                .resideInAPackage(ROOT + ".internal.kafka..")
                .should()
                .dependOnClassesThat()
                .resideInAnyPackage(ROOT + ".internal.http..", "java.net..")
                .check(all);
        noClasses()
                .that()
                .resideInAPackage(ROOT + ".internal.http..")
                .should()
                .dependOnClassesThat()
                .resideInAnyPackage(ROOT + ".internal.kafka..", "org.apache..")
                .check(all);
    }

    @Test
    void jsonIsABottom() {
        noClasses()
                .that()
                .resideInAPackage(ROOT + ".internal.json..")
                .should()
                .dependOnClassesThat()
                .resideInAnyPackage(ROOT, ROOT + ".model..", ROOT + ".internal.work..", ROOT + ".internal.http..")
                .check(all);
    }

    @Test
    void theModelIsReadByAnybodyAndKnowsNobody() {
        classes()
                .that()
                .resideInAPackage(ROOT + ".model..")
                .should()
                .onlyDependOnClassesThat()
                .resideInAnyPackage(ROOT + ".model..", "java..", "com.fasterxml.jackson..")
                .check(all);
    }

    @Test
    void whatIsInsideHasNoCycles() {
        slices().matching(ROOT + ".internal.(*)..").should().beFreeOfCycles().check(all);
    }

    @Test
    void onlyWhatPeopleStartReachesInside() {
        noClasses()
                .that()
                .resideInAPackage(ROOT)
                .and()
                .haveNameNotMatching(".*\\.(Worker|WorkflowClient)([$].*)?")
                .should()
                .dependOnClassesThat()
                .resideInAPackage(ROOT + ".internal..")
                .check(all);
    }

    @Test
    void theVersionIsThatOfThePom() throws IOException {
        String pom = Files.readString(Path.of("pom.xml"));
        assertTrue(pom.contains("<artifactId>worker-sdk</artifactId>\n  <version>" + Version.VERSION + "</version>"));
        assertEquals("workersdk-java", Version.SDK);
    }

    @Test
    void theExampleThatIsTestedIsTheOneOfTheRepository() throws IOException {
        String ours = Files.readString(Path.of("src", "test", "java", "ExampleWorkerApp.java"));
        Path told = Path.of("..", "..", "examples", "java", "src", "main", "java", "ExampleWorkerApp.java");
        assertEquals(Files.readString(told), ours);
    }
}
